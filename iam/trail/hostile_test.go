package trail

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/awsd/protocol"
)

// A command with a text that is not UTF-8, or longer than the log takes, could never be recorded: nothing behind it would be.
func TestWhatACallerSendsCannotStopTheTrail(t *testing.T) {
	r := newRig(t)
	r.down.Lock()
	for _, agent := range []string{"curl\xff", strings.Repeat("é", 30_000)} {
		eve := *alice
		eve.UserAgent, eve.SourceIP = agent, "\xfe"
		c := createUser("x\xff")
		c.Caller, c.Err = &eve, protocol.Errorf(403, "AccessDenied", "%s", agent)
		r.Record(t.Context(), c)
	}
	r.down.Unlock()
	r.Record(t.Context(), createUser("bob"))
	got := r.events(t, alice, &cloudtrail.LookupEventsInput{})
	if len(got) != 3 {
		t.Fatalf("%d events, want 3", len(got))
	}
	for _, e := range got {
		if n := len(*e.CloudTrailEvent); n > 4*maxField {
			t.Errorf("%d bytes of one event", n)
		}
	}
}

func TestAnEventThatIsTooLongStillNamesWhatWasChanged(t *testing.T) {
	r := newRig(t)
	const id = "i-0123456789abcdef0"
	r.Record(t.Context(), &protocol.Call{
		Service: "ec2", Op: "TerminateInstances", Caller: alice, Input: &ec2.TerminateInstancesInput{InstanceIds: slices.Repeat([]string{id}, 1000)},
	})
	got := r.events(t, alice, &cloudtrail.LookupEventsInput{})
	if len(got) != 1 || len(got[0].Resources) != 1 || *got[0].Resources[0].ResourceName != id {
		t.Errorf("%+v", got)
	}
}
