package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

var volumeStatusFilters = filterTable[volumeRow]{
	names: map[string]func(volumeRow) []string{
		"availability-zone":    func(r volumeRow) []string { return one(r.Zone) },
		"action.code":          func(volumeRow) []string { return nil },
		"action.description":   func(volumeRow) []string { return nil },
		"action.event-id":      func(volumeRow) []string { return nil },
		"event.description":    func(volumeRow) []string { return nil },
		"event.event-id":       func(volumeRow) []string { return nil },
		"event.event-type":     func(volumeRow) []string { return nil },
		"event.not-after":      func(volumeRow) []string { return nil },
		"event.not-before":     func(volumeRow) []string { return nil },
		"volume-status.status": func(volumeRow) []string { return one(types.VolumeStatusInfoStatusOk) },
		"volume-status.details-name": func(volumeRow) []string {
			return []string{string(types.VolumeStatusNameIoEnabled), string(types.VolumeStatusNameIoPerformance)}
		},
		"volume-status.details-status": func(volumeRow) []string { return []string{"passed", "not-applicable"} },
	},
}

// DescribeVolumeStatus tells that volumes are sound: one that was not could not be opened, and its instance would say so.
func (s *Service) DescribeVolumeStatus(ctx context.Context, c *principal.Caller, in *ec2.DescribeVolumeStatusInput) (*ec2.DescribeVolumeStatusOutput, error) {
	rows, next, err := s.pageOfVolumes(ctx, c, volumeQuery{
		op: "DescribeVolumeStatus", in: in, ids: in.VolumeIds, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken,
		table: volumeStatusFilters,
	})
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &ec2.DescribeVolumeStatusOutput{VolumeStatuses: make([]types.VolumeStatusItem, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.VolumeStatuses = append(out.VolumeStatuses, types.VolumeStatusItem{
			VolumeId: aws.String(string(r.ID)), AvailabilityZone: aws.String(r.Zone),
			Actions: []types.VolumeStatusAction{}, Events: []types.VolumeStatusEvent{}, AttachmentStatuses: []types.VolumeStatusAttachmentStatus{},
			VolumeStatus: &types.VolumeStatusInfo{Status: types.VolumeStatusInfoStatusOk, Details: []types.VolumeStatusDetails{
				{Name: types.VolumeStatusNameIoEnabled, Status: aws.String("passed")},
				{Name: types.VolumeStatusNameIoPerformance, Status: aws.String("not-applicable")},
			}},
		})
	}
	return out, nil
}

// DescribeVolumeAttribute tells the attributes of a volume that ModifyVolumeAttribute would change: none is set.
func (s *Service) DescribeVolumeAttribute(ctx context.Context, c *principal.Caller, in *ec2.DescribeVolumeAttributeInput) (*ec2.DescribeVolumeAttributeOutput, error) {
	id, err := requiredID("vol", "volumeId", in.VolumeId)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		_, err := ownVolume(v, account(c), fsm.VolumeID(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeVolumeAttributeOutput{VolumeId: &id}
	switch in.Attribute {
	case types.VolumeAttributeNameAutoEnableIO:
		out.AutoEnableIO = &types.AttributeBooleanValue{Value: aws.Bool(false)}
	case types.VolumeAttributeNameProductCodes:
		out.ProductCodes = []types.ProductCode{}
	default:
		return nil, missing("attribute")
	}
	return out, dryRun(in.DryRun)
}
