package awsd

import (
	"context"
	"sync/atomic"
	"testing"

	tagging "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

// behind is an Authorizer on a node whose state lags: it catches up before it denies, as iam's does.
type behind struct {
	guard
	fresh *atomic.Bool
}

func (b behind) Authorize(ctx context.Context, c *principal.Caller, need []protocol.Access) error {
	err := b.guard.Authorize(ctx, c, need)
	if err != nil {
		b.fresh.Store(true)
	}
	return err
}

func TestADenialIsOnWhatIsNeededAsOfTheNewestState(t *testing.T) {
	var fresh atomic.Bool
	var asked atomic.Int32
	after := "arn:aws:s3:::allowed"
	r := start(t, func(c *Config) {
		jsonServices(c)
		c.Authorizer = behind{fresh: &fresh}
		c.Services[len(c.Services)-1].Access = func(*principal.Caller, string, any) []protocol.Access {
			asked.Add(1)
			if fresh.Load() {
				return []protocol.Access{{Action: "tag:GetResources", Resource: after}}
			}
			return []protocol.Access{{Action: "tag:GetResources", Resource: "arn:aws:s3:::forbidden"}}
		}
	})
	call := func() error {
		_, err := r.tagging(testSecret).GetResources(context.Background(), &tagging.GetResourcesInput{})
		return err
	}
	if err := call(); err != nil || asked.Load() != 2 {
		t.Errorf("a resource that is allowed now: %v, asked %d times", err, asked.Load())
	}
	after = "arn:aws:s3:::forbidden/still"
	fresh.Store(false)
	wantCode(t, call(), "AccessDeniedException")
}
