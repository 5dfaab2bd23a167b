package ec2

import (
	"context"
	"errors"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws/aws-sdk-go-v2/aws"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Reasons for which an instance changes its state at a caller's word, as EC2 gives them.
const userShutdown = "Client.UserInitiatedShutdown"

func userReason() fsm.Reason {
	return fsm.Reason{Code: userShutdown, Message: userShutdown + ": User initiated shutdown"}
}

// transition is EC2's StateTransitionReason of a change that a caller asked for.
func (s *Service) transition() string {
	return "User initiated (" + s.cfg.Clock().UTC().Format("2006-01-02 15:04:05") + " GMT)"
}

// change is what one operation does to each of its instances.
type change struct {
	caller *principal.Caller
	ids    []string
	dry    *bool
	verb   string                                                         // "stopped", for the message and the log
	from   []string                                                       // states in which it can be done
	decide func(v *fsm.View, i fsm.Instance) (cmd fsm.Command, err error) // nil: nothing to do
}

// changeInstances checks all instances, then changes one after the other. It answers their states before and after.
func (s *Service) changeInstances(ctx context.Context, c change) ([]types.InstanceStateChange, error) {
	if len(c.ids) == 0 {
		return nil, missing("InstanceId")
	}
	if err := checkIDs("i", c.ids); err != nil {
		return nil, err
	}
	var instances []fsm.Instance
	err := s.read(ctx, func(v *fsm.View) (err error) {
		if instances, err = ownInstances(v, account(c.caller), c.ids); err != nil {
			return err
		}
		for _, i := range instances {
			if err := c.allows(i); err != nil {
				return err
			}
		}
		return dryRun(c.dry)
	})
	if err != nil {
		return nil, err
	}
	out := make([]types.InstanceStateChange, 0, len(instances))
	for _, i := range instances {
		state, err := s.changeInstance(ctx, c, i)
		if err != nil {
			return nil, err
		}
		out = append(out, state)
	}
	return out, nil
}

// allows refuses a change in a state in which it cannot be done.
func (c change) allows(i fsm.Instance) error {
	if slices.Contains(c.from, i.State) {
		return nil
	}
	return wrongState(string(i.ID), c.verb)
}

func wrongState(id, verb string) *protocol.Error {
	return bad("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", id, verb)
}

func (s *Service) changeInstance(ctx context.Context, c change, i fsm.Instance) (types.InstanceStateChange, error) {
	before, done := i.State, false
	err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		now, ok := fsm.Instances.Get(v, i.ID)
		if !ok {
			return nil, notFound(string(i.ID))
		}
		if err := c.allows(now); err != nil {
			return nil, err
		}
		before = now.State
		cmd, err := c.decide(v, now)
		done = cmd != nil
		return cmd, err
	}, fsm.ErrLimit, fsm.ErrInvalid)
	switch {
	case errors.Is(err, fsm.ErrLimit):
		return types.InstanceStateChange{}, errCapacity(i.Type, i.Zone)
	case errors.Is(err, fsm.ErrInvalid):
		return types.InstanceStateChange{}, wrongState(string(i.ID), c.verb)
	case err != nil:
		return types.InstanceStateChange{}, err
	}
	if done {
		s.changed(ctx, c.caller, "instance to be "+c.verb, "instance", i.ID)
	}
	after := before
	err = s.cfg.Control.View(func(v *fsm.View) error {
		if now, ok := fsm.Instances.Get(v, i.ID); ok {
			after = now.State
		}
		return nil
	})
	return types.InstanceStateChange{InstanceId: aws.String(string(i.ID)), PreviousState: stateOut(before), CurrentState: stateOut(after)}, err
}

// StopInstances stops instances: by the power button and, after a while, by the plug; with Force by the plug at once.
func (s *Service) StopInstances(ctx context.Context, c *principal.Caller, in *sdk.StopInstancesInput) (*sdk.StopInstancesOutput, error) {
	if err := supports(in, "InstanceIds", "Force"); err != nil {
		return nil, err
	}
	out, err := s.changeInstances(ctx, change{
		caller: c, ids: in.InstanceIds, dry: in.DryRun, verb: "stopped",
		from: []string{fsm.InstancePending, fsm.InstanceRunning, fsm.InstanceStopping, fsm.InstanceStopped},
		decide: func(_ *fsm.View, i fsm.Instance) (fsm.Command, error) {
			if i.State == fsm.InstancePending && i.Boot == 1 {
				return nil, bad("IncorrectInstanceState", "Instance '%s' cannot be stopped as it has never reached the 'running' state.", i.ID)
			}
			force := aws.ToBool(in.Force)
			if i.State == fsm.InstanceStopped || i.State == fsm.InstanceStopping && (i.Force || !force) {
				return nil, nil
			}
			return &fsm.StopInstance{
				ID: i.ID, Account: i.Account, Force: force, Reason: userReason(), Transition: s.transition(), Now: s.now(),
			}, nil
		},
	})
	return &sdk.StopInstancesOutput{StoppingInstances: out}, err
}

// StartInstances starts stopped instances, each where most memory is free now in its zone.
func (s *Service) StartInstances(ctx context.Context, c *principal.Caller, in *sdk.StartInstancesInput) (*sdk.StartInstancesOutput, error) {
	if err := supports(in, "InstanceIds"); err != nil {
		return nil, err
	}
	out, err := s.changeInstances(ctx, change{
		caller: c, ids: in.InstanceIds, dry: in.DryRun, verb: "started",
		from: []string{fsm.InstanceStopped, fsm.InstancePending, fsm.InstanceRunning},
		decide: func(v *fsm.View, i fsm.Instance) (fsm.Command, error) {
			if i.State != fsm.InstanceStopped {
				return nil, nil
			}
			chosen := place(s.members(v), func(id fsm.NodeID) fsm.NodeUse { return fsm.UseOf(v, id) },
				demand{vcpus: i.VCPUs, memory: i.Memory, arch: i.Arch, zones: []string{i.Zone}}, 1)
			if len(chosen) == 0 {
				return nil, errCapacity(i.Type, i.Zone)
			}
			return &fsm.StartInstance{
				ID: i.ID, Account: i.Account, Rev: i.Rev, Node: chosen[0].ID, Capacity: capacities(chosen), Now: s.now(),
			}, nil
		},
	})
	return &sdk.StartInstancesOutput{StartingInstances: out}, err
}

// RebootInstances resets running instances.
func (s *Service) RebootInstances(ctx context.Context, c *principal.Caller, in *sdk.RebootInstancesInput) (*sdk.RebootInstancesOutput, error) {
	_, err := s.changeInstances(ctx, change{
		caller: c, ids: in.InstanceIds, dry: in.DryRun, verb: "rebooted",
		from: []string{fsm.InstancePending, fsm.InstanceRunning},
		decide: func(_ *fsm.View, i fsm.Instance) (fsm.Command, error) {
			return &fsm.RebootInstance{ID: i.ID, Account: i.Account}, nil
		},
	})
	return &sdk.RebootInstancesOutput{}, err
}

// TerminateInstances ends instances, from any state. What is protected refuses the whole request.
func (s *Service) TerminateInstances(ctx context.Context, c *principal.Caller, in *sdk.TerminateInstancesInput) (*sdk.TerminateInstancesOutput, error) {
	if err := supports(in, "InstanceIds", "Force"); err != nil {
		return nil, err
	}
	if err := s.refuseProtected(ctx, c, in.InstanceIds); err != nil {
		return nil, err
	}
	out, err := s.changeInstances(ctx, change{
		caller: c, ids: in.InstanceIds, dry: in.DryRun, verb: "terminated",
		from: []string{
			fsm.InstancePending, fsm.InstanceRunning, fsm.InstanceStopping, fsm.InstanceStopped, fsm.InstanceShuttingDown, fsm.InstanceTerminated,
		},
		decide: func(_ *fsm.View, i fsm.Instance) (fsm.Command, error) {
			if i.State == fsm.InstanceShuttingDown || i.State == fsm.InstanceTerminated {
				return nil, nil
			}
			if i.Protected {
				return nil, errProtected(i.ID)
			}
			return &fsm.TerminateInstance{
				ID: i.ID, Account: i.Account, Reason: userReason(), Transition: s.transition(), Now: s.now(),
			}, nil
		},
	})
	return &sdk.TerminateInstancesOutput{TerminatingInstances: out}, err
}

// refuseProtected refuses the termination of any of ids that is protected, before the first of them is ended.
func (s *Service) refuseProtected(ctx context.Context, c *principal.Caller, ids []string) error {
	return s.read(ctx, func(v *fsm.View) error {
		for _, id := range ids {
			i, ok := fsm.Instances.Get(v, fsm.InstanceID(id))
			if ok && i.Account == account(c) && i.Protected && i.State != fsm.InstanceShuttingDown && i.State != fsm.InstanceTerminated {
				return errProtected(i.ID)
			}
		}
		return nil
	})
}

func errProtected(id fsm.InstanceID) *protocol.Error {
	return bad("OperationNotPermitted",
		"The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", id)
}
