package trail

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/awsd/protocol"
	"hive/fsm"
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

// Whoever may nothing can be refused as often as he likes, and anybody can ask for sessions.
func TestCallsThatChangeNothingCannotPushTheChangesOut(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Kept = func() (time.Duration, int64) { return 0, 10 } })
	r.Record(t.Context(), createUser("bob"))
	for range 3000 {
		c := createUser("x")
		c.Err = protocol.Errorf(403, "AccessDenied", "no")
		r.Record(t.Context(), c)
	}
	r.Record(t.Context(), &protocol.Call{Service: "sts", Op: "GetSessionToken", Caller: alice})
	count := func() (all int, bob bool) {
		err := r.View(func(v *fsm.View) error {
			for _, e := range fsm.AuditEvents(v, account, "") {
				all++
				bob = bob || e.Code == "" && e.Name == "CreateUser"
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all, bob
	}
	if all, _ := count(); all > 10+trimBy+2*maxBatch {
		t.Errorf("%d events between two prunes", all)
	}
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, bob := count(); all != 10 || !bob {
		t.Errorf("%d events, bob's is there: %v", all, bob)
	}
}
