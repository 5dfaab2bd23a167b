package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Events of the hypervisor that impair an instance, by QMP's names.
const (
	eventPanic = "GUEST_PANICKED"
	eventBlock = "BLOCK_IO_ERROR"
)

// statusRow is an instance with how it is.
type statusRow struct {
	fsm.Instance
	alive bool   // its node
	zone  string // its zone's id
}

// since is when one of the events was first seen since the guest began; 0: not.
func (r statusRow) since(codes ...string) int64 {
	for _, e := range r.Events {
		if e.Boot == r.Boot && slices.Contains(codes, e.Code) {
			return e.Time
		}
	}
	return 0
}

// state is a status in the words of EC2: of a check that holds only while the instance runs.
func (r statusRow) state(impaired bool) types.SummaryStatus {
	switch {
	case r.State != fsm.InstanceRunning:
		return types.SummaryStatusNotApplicable
	case impaired:
		return types.SummaryStatusImpaired
	}
	return types.SummaryStatusOk
}

// system is how the instance's node is.
func (r statusRow) system() types.SummaryStatus { return r.state(!r.alive) }

// guest is how the instance itself is: nobody can tell while its node is lost.
func (r statusRow) guest() types.SummaryStatus {
	if r.State == fsm.InstanceRunning && !r.alive {
		return types.SummaryStatusInsufficientData
	}
	return r.state(r.since(eventPanic, eventBlock) != 0)
}

// storage is how the instance's volumes are.
func (r statusRow) storage() types.SummaryStatus {
	if r.State == fsm.InstanceRunning && !r.alive {
		return types.SummaryStatusInsufficientData
	}
	return r.state(r.since(eventBlock) != 0)
}

// reachability is the one check behind each status.
func reachability(s types.SummaryStatus) types.StatusType {
	switch s {
	case types.SummaryStatusOk:
		return types.StatusTypePassed
	case types.SummaryStatusImpaired:
		return types.StatusTypeFailed
	case types.SummaryStatusInsufficientData:
		return types.StatusTypeInsufficientData
	}
	return ""
}

var statusFilters = filterTable[statusRow]{names: map[string]func(statusRow) []string{
	"application-status.status":    none[statusRow],
	"attached-ebs-status.status":   func(r statusRow) []string { return one(r.storage()) },
	"availability-zone":            func(r statusRow) []string { return one(r.Zone) },
	"availability-zone-id":         func(r statusRow) []string { return one(r.zone) },
	"event.code":                   none[statusRow],
	"event.description":            none[statusRow],
	"event.instance-event-id":      none[statusRow],
	"event.not-after":              none[statusRow],
	"event.not-before":             none[statusRow],
	"event.not-before-deadline":    none[statusRow],
	"instance-state-code":          func(r statusRow) []string { return number(stateCodes[r.State]) },
	"instance-state-name":          func(r statusRow) []string { return one(r.State) },
	"instance-status.reachability": func(r statusRow) []string { return one(reachability(r.guest())) },
	"instance-status.status":       func(r statusRow) []string { return one(r.guest()) },
	"operator.managed":             func(statusRow) []string { return yesNo(false) },
	"operator.principal":           none[statusRow],
	"system-status.reachability":   func(r statusRow) []string { return one(reachability(r.system())) },
	"system-status.status":         func(r statusRow) []string { return one(r.system()) },
}}

// DescribeInstanceStatus tells how running instances are; with IncludeAllInstances also those that do not run.
func (s *Service) DescribeInstanceStatus(ctx context.Context, c *principal.Caller, in *sdk.DescribeInstanceStatusInput) (*sdk.DescribeInstanceStatusOutput, error) {
	if err := checkIDs("i", in.InstanceIds); err != nil {
		return nil, err
	}
	if len(in.InstanceIds) > 0 && in.MaxResults != nil {
		return nil, bad(codeCombination, "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	rows, next, err := list(ctx, s, c, listing[statusRow]{
		op: "DescribeInstanceStatus", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: statusFilters, order: func(r statusRow) string { return string(r.ID) },
		rows: func(v *fsm.View) ([]statusRow, error) {
			all, err := instanceRows(v, account(c), in.InstanceIds)
			var out []statusRow
			for _, r := range all {
				if r.State == fsm.InstanceRunning || aws.ToBool(in.IncludeAllInstances) {
					out = append(out, statusRow{r.Instance, s.node(r.Node).Alive, s.ZoneID(r.Zone)})
				}
			}
			return out, err
		},
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeInstanceStatusOutput{NextToken: next, InstanceStatuses: make([]types.InstanceStatus, 0, len(rows))}
	for _, r := range rows {
		out.InstanceStatuses = append(out.InstanceStatuses, r.out())
	}
	return out, nil
}

func (r statusRow) out() types.InstanceStatus {
	out := types.InstanceStatus{
		AvailabilityZone: aws.String(r.Zone), AvailabilityZoneId: aws.String(r.zone), InstanceId: aws.String(string(r.ID)), InstanceState: stateOut(r.State),
		Events: []types.InstanceStatusEvent{}, InstanceStatus: summary(r.guest(), r.since(eventPanic, eventBlock)),
		SystemStatus: summary(r.system(), 0),
	}
	if status := r.storage(); status != types.SummaryStatusNotApplicable {
		out.AttachedEbsStatus = &types.EbsStatusSummary{Status: status, Details: []types.EbsStatusDetails{
			{Name: types.StatusNameReachability, Status: reachability(status), ImpairedSince: unless0(r.since(eventBlock))},
		}}
	}
	return out
}

func summary(status types.SummaryStatus, since int64) *types.InstanceStatusSummary {
	out := &types.InstanceStatusSummary{Status: status, Details: []types.InstanceStatusDetails{}}
	if check := reachability(status); check != "" {
		out.Details = append(out.Details, types.InstanceStatusDetails{
			Name: types.StatusNameReachability, Status: check, ImpairedSince: unless0(since),
		})
	}
	return out
}

// GetConsoleOutput answers the last output of an instance's serial console, base64 as the API has it.
func (s *Service) GetConsoleOutput(ctx context.Context, c *principal.Caller, in *sdk.GetConsoleOutputInput) (*sdk.GetConsoleOutputOutput, error) {
	id, err := requiredID("i", "InstanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	var i fsm.Instance
	err = s.read(ctx, func(v *fsm.View) error {
		own, err := ownInstances(v, account(c), []string{id})
		if err == nil {
			i = own[0]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	text, at, err := s.cfg.Console(ctx, i)
	if err != nil {
		return nil, errors.Join(protocol.Errorf(http.StatusServiceUnavailable, "Unavailable",
			"The node of instance '%s' does not tell its console. Try again.", id), err)
	}
	out := &sdk.GetConsoleOutputOutput{InstanceId: aws.String(id)}
	if !at.IsZero() {
		out.Timestamp, out.Output = aws.Time(at.UTC()), aws.String(base64.StdEncoding.EncodeToString(text))
	}
	return out, nil
}
