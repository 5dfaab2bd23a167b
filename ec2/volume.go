package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// volumeRow is a volume and its tags.
type volumeRow struct {
	fsm.Volume
	tags []fsm.Tag
}

func (r volumeRow) attachment() fsm.Attachment {
	if r.Attachment == nil {
		return fsm.Attachment{}
	}
	return *r.Attachment
}

func (r volumeRow) attached(values func(fsm.Attachment) []string) []string {
	if r.Attachment == nil {
		return nil
	}
	return values(*r.Attachment)
}

// volumeFilters are the filters of DescribeVolumes. Source: DescribeVolumes, Amazon EC2 API Reference.
func (s *Service) volumeFilters() filterTable[volumeRow] {
	return filterTable[volumeRow]{
		names: map[string]func(volumeRow) []string{
			"attachment.attach-time": func(r volumeRow) []string { return moment(r.attachment().Time) },
			"attachment.delete-on-termination": func(r volumeRow) []string {
				return r.attached(func(a fsm.Attachment) []string { return yesNo(a.DeleteOnTermination) })
			},
			"attachment.device":      func(r volumeRow) []string { return one(r.attachment().Device) },
			"attachment.instance-id": func(r volumeRow) []string { return one(r.attachment().Instance) },
			"attachment.status":      func(r volumeRow) []string { return one(r.attachment().State) },
			"availability-zone":      func(r volumeRow) []string { return one(r.Zone) },
			"availability-zone-id":   func(r volumeRow) []string { return one(s.ZoneID(r.Zone)) },
			"create-time":            func(r volumeRow) []string { return moment(r.Created) },
			"encrypted":              func(volumeRow) []string { return yesNo(false) },
			"fast-restored":          func(volumeRow) []string { return yesNo(false) },
			"multi-attach-enabled":   func(volumeRow) []string { return yesNo(false) },
			"operator.managed":       func(volumeRow) []string { return yesNo(false) },
			"operator.principal":     none[volumeRow],
			"size":                   func(r volumeRow) []string { return number(r.Size) },
			"snapshot-id":            func(r volumeRow) []string { return one(r.Snapshot) },
			"status":                 func(r volumeRow) []string { return one(r.State()) },
			"volume-id":              func(r volumeRow) []string { return one(r.ID) },
			"volume-type":            func(r volumeRow) []string { return one(r.Type) },
		},
		tags: func(r volumeRow) []fsm.Tag { return r.tags },
	}
}

// ownVolume is an account's volume of an id. Those that snapshots are written through are nobody's.
func ownVolume(v *fsm.View, owner fsm.AccountID, id fsm.VolumeID) (fsm.Volume, error) {
	x, ok := fsm.Volumes.Get(v, id)
	if !ok || x.Account != owner || x.Builder != "" {
		return x, notFound(string(id))
	}
	return x, nil
}

// volumeRows are the account's volumes in order of id: those of ids, or all.
func volumeRows(v *fsm.View, owner fsm.AccountID, ids []string) ([]volumeRow, error) {
	var out []volumeRow
	for _, x := range fsm.Volumes.Scan(v, "") {
		if x.Account == owner && x.Builder == "" && (len(ids) == 0 || slices.Contains(ids, string(x.ID))) {
			out = append(out, volumeRow{x, fsm.TagsOf(v, string(x.ID))})
		}
	}
	var unknown []string
	for _, id := range ids {
		if !slices.ContainsFunc(out, func(r volumeRow) bool { return string(r.ID) == id }) {
			unknown = append(unknown, id)
		}
	}
	if unknown != nil {
		return nil, notFound(unknown...)
	}
	return out, nil
}

// CreateVolume makes a volume that is not attached.
func (s *Service) CreateVolume(ctx context.Context, c *principal.Caller, in *ec2.CreateVolumeInput) (*ec2.CreateVolumeOutput, error) {
	if err := supports(in, "AvailabilityZone", "Size", "SnapshotId", "VolumeType", "Iops", "Throughput", "TagSpecifications", "ClientToken"); err != nil {
		return nil, err
	}
	if in.AvailabilityZone == nil || *in.AvailabilityZone == "" {
		return nil, missing("AvailabilityZone")
	}
	if in.Size == nil && aws.ToString(in.SnapshotId) == "" {
		return nil, missing("size/snapshot")
	}
	if id := aws.ToString(in.SnapshotId); id != "" {
		if err := checkID("snap", id); err != nil {
			return nil, err
		}
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeVolume)
	if err != nil {
		return nil, err
	}
	once, err := s.once(c, "CreateVolume", in.ClientToken, in)
	if err != nil {
		return nil, err
	}
	var row volumeRow
	before := false
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		ids, err := made(v, once)
		if err != nil {
			return nil, err
		}
		if before = len(ids) > 0; before {
			rows, err := volumeRows(v, account(c), ids)
			if err == nil {
				row, err = rows[0], dryRun(in.DryRun)
			}
			return nil, err
		}
		cmd, err := s.newCreateVolume(v, c, in)
		if err != nil {
			return nil, err
		}
		cmd.Tags, cmd.Once = tags[types.ResourceTypeVolume], once
		if once != nil {
			once.IDs = []string{string(cmd.Volume.ID)}
		}
		row = volumeRow{cmd.Volume, cmd.Tags}
		return cmd, dryRun(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	if !before {
		s.changed(ctx, c, "volume created", "volume", row.ID, "size_gib", row.Size, "replicas", row.Replicas)
	}
	return createdVolume(volumeOut(row)), nil
}

// createdVolume is a volume as CreateVolume answers it.
func createdVolume(x types.Volume) *ec2.CreateVolumeOutput {
	return &ec2.CreateVolumeOutput{
		AvailabilityZone: x.AvailabilityZone, CreateTime: x.CreateTime, Encrypted: x.Encrypted, Iops: x.Iops,
		MultiAttachEnabled: x.MultiAttachEnabled, Size: x.Size, SnapshotId: x.SnapshotId, State: types.VolumeStateCreating,
		Tags: x.Tags, Throughput: x.Throughput, VolumeId: x.VolumeId, VolumeType: x.VolumeType, Attachments: x.Attachments,
	}
}

func (s *Service) newCreateVolume(v *fsm.View, c *principal.Caller, in *ec2.CreateVolumeInput) (*fsm.CreateVolume, error) {
	zone := *in.AvailabilityZone
	if !slices.Contains(zonesOf(v), zone) {
		return nil, bad("InvalidZone.NotFound", "The zone '%s' does not exist.", zone)
	}
	var from *fsm.Snapshot
	var least int64
	if id := aws.ToString(in.SnapshotId); id != "" {
		snap, err := completedSnapshot(v, account(c), fsm.SnapshotID(id))
		if err != nil {
			return nil, err
		}
		from, least = &snap, snap.Size
	}
	x, err := s.newVolume(account(c), zone, from)
	if err != nil {
		return nil, err
	}
	shape := volumeShape{kind: string(in.VolumeType), size: in.Size, iops: in.Iops, throughput: in.Throughput}
	if err := shape.apply(&x, least); err != nil {
		return nil, err
	}
	if err := s.placeVolume(&x, ""); err != nil {
		return nil, err
	}
	return &fsm.CreateVolume{Volume: x}, nil
}

// DescribeVolumes tells of volumes.
func (s *Service) DescribeVolumes(ctx context.Context, c *principal.Caller, in *ec2.DescribeVolumesInput) (*ec2.DescribeVolumesOutput, error) {
	rows, next, err := s.pageOfVolumes(ctx, c, volumeQuery{
		op: "DescribeVolumes", in: in, ids: in.VolumeIds, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, table: s.volumeFilters(),
	})
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &ec2.DescribeVolumesOutput{Volumes: make([]types.Volume, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.Volumes = append(out.Volumes, volumeOut(r))
	}
	return out, nil
}

// volumeQuery is what a describe of volumes asks for.
type volumeQuery struct {
	op         string
	in         any
	ids        []string
	filters    []types.Filter
	maxResults *int32
	token      *string
	table      filterTable[volumeRow]
}

func (s *Service) pageOfVolumes(ctx context.Context, c *principal.Caller, q volumeQuery) (rows []volumeRow, next *string, err error) {
	if err := checkIDs("vol", q.ids); err != nil {
		return nil, nil, err
	}
	matches, err := q.table.compile(q.filters)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPage(pageRequest{c.Account, q.op, q.in, q.maxResults, q.token}, usual)
	if err != nil {
		return nil, nil, err
	}
	err = s.read(ctx, func(v *fsm.View) (err error) {
		rows, err = volumeRows(v, account(c), q.ids)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	rows = slices.DeleteFunc(rows, func(r volumeRow) bool { return !matches(r) })
	rows, next = turn(p, rows, func(r volumeRow) string { return string(r.ID) })
	return rows, next, nil
}

// volumeOut is a volume as EC2 tells of it.
func volumeOut(r volumeRow) types.Volume {
	out := types.Volume{
		VolumeId: aws.String(string(r.ID)), AvailabilityZone: aws.String(r.Zone), CreateTime: timeOf(r.Created), Encrypted: aws.Bool(false),
		Size: aws.Int32(int32(r.Size)), SnapshotId: aws.String(string(r.Snapshot)), State: types.VolumeState(r.State()),
		VolumeType: types.VolumeType(r.Type), Iops: ptr32(r.IOPS), Throughput: ptr32(r.Throughput), MultiAttachEnabled: aws.Bool(false),
		Tags: tagsOut(r.tags), Attachments: []types.VolumeAttachment{},
	}
	if r.Attachment != nil {
		a := attachmentOut(r.Volume)
		out.Attachments = append(out.Attachments, a)
	}
	return out
}

func attachmentOut(x fsm.Volume) types.VolumeAttachment {
	return types.VolumeAttachment{
		AttachTime: timeOf(x.Attachment.Time), DeleteOnTermination: aws.Bool(x.Attachment.DeleteOnTermination), Device: aws.String(x.Attachment.Device),
		InstanceId: aws.String(string(x.Attachment.Instance)), State: types.VolumeAttachmentState(x.Attachment.State), VolumeId: aws.String(string(x.ID)),
	}
}

// DeleteVolume removes a volume and its content.
func (s *Service) DeleteVolume(ctx context.Context, c *principal.Caller, in *ec2.DeleteVolumeInput) (*ec2.DeleteVolumeOutput, error) {
	id, err := requiredID("vol", "volumeId", in.VolumeId)
	if err != nil {
		return nil, err
	}
	if err := supports(in, "VolumeId"); err != nil {
		return nil, err
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		x, err := ownVolume(v, account(c), fsm.VolumeID(id))
		if err != nil {
			return nil, err
		}
		if x.Attachment != nil {
			return nil, bad("VolumeInUse", "Volume %s is currently attached to %s", id, x.Attachment.Instance)
		}
		for _, snap := range fsm.Snapshots.Scan(v, "") {
			if snap.Volume == x.ID && snap.State == fsm.SnapshotPending {
				return nil, bad("VolumeInUse", "Volume %s is being copied into %s: try again when that snapshot is completed", id, snap.ID)
			}
		}
		return &fsm.DeleteVolume{ID: x.ID, Account: account(c)}, dryRun(in.DryRun)
	}, fsm.ErrInUse)
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "volume deleted", "volume", id)
	return &ec2.DeleteVolumeOutput{}, nil
}
