package ec2

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// noVolume is the volume of a snapshot that was not made of one.
const noVolume = "vol-ffffffff"

// maxDescription is how many bytes a snapshot's or image's description can have.
const maxDescription = 255

// snapshotRow is a snapshot and its tags.
type snapshotRow struct {
	fsm.Snapshot
	tags []fsm.Tag
}

// volume is the volume that is told of.
func (r snapshotRow) volume() string {
	if r.Direct || r.Volume == "" {
		return noVolume
	}
	return string(r.Volume)
}

func (r snapshotRow) progress() string {
	if r.State == fsm.SnapshotCompleted {
		return "100%"
	}
	return "0%"
}

var snapshotFilters = filterTable[snapshotRow]{
	names: map[string]func(snapshotRow) []string{
		"description":       func(r snapshotRow) []string { return one(r.Description) },
		"encrypted":         func(snapshotRow) []string { return yesNo(false) },
		"owner-alias":       func(snapshotRow) []string { return nil },
		"owner-id":          func(r snapshotRow) []string { return one(r.Account) },
		"progress":          func(r snapshotRow) []string { return one(r.progress()) },
		"snapshot-id":       func(r snapshotRow) []string { return one(r.ID) },
		"start-time":        func(r snapshotRow) []string { return moment(r.Started) },
		"status":            func(r snapshotRow) []string { return one(r.State) },
		"storage-tier":      func(snapshotRow) []string { return one(types.StorageTierStandard) },
		"transfer-type":     func(snapshotRow) []string { return nil },
		"volume-id":         func(r snapshotRow) []string { return one(r.volume()) },
		"volume-size":       func(r snapshotRow) []string { return number(r.Size) },
		"availability-zone": func(snapshotRow) []string { return nil },
	},
	tags: func(r snapshotRow) []fsm.Tag { return r.tags },
}

// ownSnapshot is an account's snapshot of an id.
func ownSnapshot(v *fsm.View, owner fsm.AccountID, id fsm.SnapshotID) (fsm.Snapshot, error) {
	x, ok := fsm.Snapshots.Get(v, id)
	if !ok || x.Account != owner {
		return x, notFound(string(id))
	}
	return x, nil
}

// completedSnapshot is an account's snapshot of an id that volumes and images can be made of.
func completedSnapshot(v *fsm.View, owner fsm.AccountID, id fsm.SnapshotID) (fsm.Snapshot, error) {
	x, err := ownSnapshot(v, owner, id)
	if err == nil && x.State != fsm.SnapshotCompleted {
		err = bad("IncorrectState", "Snapshot '%s' is in the state '%s': it must be completed.", id, x.State)
	}
	return x, err
}

func checkDescription(s *string) error {
	if len(aws.ToString(s)) > maxDescription {
		return invalid("The description exceeds the maximum length of %d characters.", maxDescription)
	}
	return nil
}

// freezePatience is how long the content of a snapshot may take to be decided.
const freezePatience = 30 * time.Second

// CreateSnapshot makes a snapshot of a volume as it is now: what was flushed before is in it, what is written after the
// answer is not.
func (s *Service) CreateSnapshot(ctx context.Context, c *principal.Caller, in *ec2.CreateSnapshotInput) (*ec2.CreateSnapshotOutput, error) {
	id, err := requiredID("vol", "volumeId", in.VolumeId)
	if err != nil {
		return nil, err
	}
	if err := supports(in, "VolumeId", "Description", "TagSpecifications"); err != nil {
		return nil, err
	}
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}
	want := fsm.Snapshot{Account: account(c), Volume: fsm.VolumeID(id), Description: aws.ToString(in.Description)}
	row, err := s.freeze(ctx, want, tags[types.ResourceTypeSnapshot], in.DryRun)
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "snapshot created", "snapshot", row.ID, "volume", id)
	x := snapshotOut(row)
	return &ec2.CreateSnapshotOutput{
		Description: x.Description, Encrypted: x.Encrypted, OwnerId: x.OwnerId, Progress: x.Progress, SnapshotId: x.SnapshotId,
		StartTime: x.StartTime, State: x.State, Tags: x.Tags, VolumeId: x.VolumeId, VolumeSize: x.VolumeSize,
	}, nil
}

// freeze makes a snapshot of want.Volume and returns once its content is decided. Where that fails there is none.
func (s *Service) freeze(ctx context.Context, want fsm.Snapshot, tags []fsm.Tag, dry *bool) (snapshotRow, error) {
	id, err := s.newID("snap")
	if err != nil {
		return snapshotRow{}, err
	}
	want.ID, want.Started = fsm.SnapshotID(id), s.now()
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if _, err := ownVolume(v, want.Account, want.Volume); err != nil {
			return nil, err
		}
		return &fsm.CreateSnapshot{Snapshot: want, Tags: tags}, dryRun(dry)
	})
	if err != nil {
		return snapshotRow{}, err
	}
	now, err := s.snapshotNow(ctx, want.ID)
	if err == nil && now.State == fsm.SnapshotPending {
		if err = s.decideContent(ctx, now); err == nil {
			now, err = s.snapshotNow(ctx, want.ID)
		}
	}
	return snapshotRow{now, tags}, err
}

// decideContent has the volume's owner freeze a pending snapshot, or takes the snapshot back.
func (s *Service) decideContent(ctx context.Context, x fsm.Snapshot) error {
	limited, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	err := s.cfg.Storage.Freeze(limited, x.ID)
	if err == nil {
		return nil
	}
	// What the caller has given up must not stay: hence a context of its own.
	rest, end := context.WithTimeout(context.WithoutCancel(ctx), groupDeadline)
	defer end()
	undo := s.cfg.Control.Propose(rest, &fsm.DeleteSnapshot{ID: x.ID, Account: x.Account})
	return errors.Join(protocol.Errorf(http.StatusServiceUnavailable, "Unavailable",
		"The volume %s cannot be frozen now: the node that serves it does not answer. Try again.", x.Volume), err, undo)
}

func (s *Service) snapshotNow(ctx context.Context, id fsm.SnapshotID) (x fsm.Snapshot, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		var ok bool
		if x, ok = fsm.Snapshots.Get(v, id); !ok {
			return notFound(string(id))
		}
		return nil
	})
	return x, err
}

// snapshotOut is a snapshot as EC2 tells of it.
func snapshotOut(r snapshotRow) types.Snapshot {
	out := types.Snapshot{
		SnapshotId: aws.String(string(r.ID)), VolumeId: aws.String(r.volume()), VolumeSize: aws.Int32(int32(r.Size)), State: types.SnapshotState(r.State),
		Progress: aws.String(r.progress()), StartTime: timeOf(r.Started), OwnerId: aws.String(string(r.Account)), Description: aws.String(r.Description),
		Encrypted: aws.Bool(false), StorageTier: types.StorageTierStandard, Tags: tagsOut(r.tags),
	}
	if r.Message != "" {
		out.StateMessage = aws.String(r.Message)
	}
	if r.Completed != 0 {
		out.CompletionTime = timeOf(r.Completed)
	}
	return out
}

// isOwner tells whether a list of owners or of users names the caller; an empty one names everybody.
func isOwner(c *principal.Caller, owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, c.Account)
}

// DescribeSnapshots tells of the caller's snapshots: nobody shares any.
func (s *Service) DescribeSnapshots(ctx context.Context, c *principal.Caller, in *ec2.DescribeSnapshotsInput) (*ec2.DescribeSnapshotsOutput, error) {
	if err := checkIDs("snap", in.SnapshotIds); err != nil {
		return nil, err
	}
	matches, err := snapshotFilters.compile(in.Filters)
	if err != nil {
		return nil, err
	}
	p, err := newPage(pageRequest{c.Account, "DescribeSnapshots", in, in.MaxResults, in.NextToken}, usual)
	if err != nil {
		return nil, err
	}
	var rows []snapshotRow
	err = s.read(ctx, func(v *fsm.View) (err error) {
		rows, err = snapshotRows(v, account(c), in.SnapshotIds)
		return err
	})
	if err != nil {
		return nil, err
	}
	visible := isOwner(c, in.OwnerIds) && isOwner(c, in.RestorableByUserIds)
	rows = slices.DeleteFunc(rows, func(r snapshotRow) bool { return !visible || !matches(r) })
	rows, next := turn(p, rows, func(r snapshotRow) string { return string(r.ID) })
	out := &ec2.DescribeSnapshotsOutput{Snapshots: make([]types.Snapshot, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.Snapshots = append(out.Snapshots, snapshotOut(r))
	}
	return out, dryRun(in.DryRun)
}

// snapshotRows are the account's snapshots in order of id: those of ids, or all.
func snapshotRows(v *fsm.View, owner fsm.AccountID, ids []string) ([]snapshotRow, error) {
	var out []snapshotRow
	for _, x := range fsm.Snapshots.Scan(v, "") {
		if x.Account == owner && (len(ids) == 0 || slices.Contains(ids, string(x.ID))) {
			out = append(out, snapshotRow{x, fsm.TagsOf(v, string(x.ID))})
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(out, func(r snapshotRow) bool { return string(r.ID) == id }) {
			return nil, notFound(id)
		}
	}
	return out, nil
}

// DescribeSnapshotAttribute tells that nobody else may use a snapshot.
func (s *Service) DescribeSnapshotAttribute(ctx context.Context, c *principal.Caller, in *ec2.DescribeSnapshotAttributeInput) (*ec2.DescribeSnapshotAttributeOutput, error) {
	id, err := requiredID("snap", "snapshotId", in.SnapshotId)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		_, err := ownSnapshot(v, account(c), fsm.SnapshotID(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeSnapshotAttributeOutput{SnapshotId: &id}
	switch in.Attribute {
	case types.SnapshotAttributeNameCreateVolumePermission:
		out.CreateVolumePermissions = []types.CreateVolumePermission{}
	case types.SnapshotAttributeNameProductCodes:
		out.ProductCodes = []types.ProductCode{}
	default:
		return nil, missing("attribute")
	}
	return out, dryRun(in.DryRun)
}

// DeleteSnapshot removes a snapshot. Volumes and other snapshots that share content with it keep theirs.
func (s *Service) DeleteSnapshot(ctx context.Context, c *principal.Caller, in *ec2.DeleteSnapshotInput) (*ec2.DeleteSnapshotOutput, error) {
	id, err := requiredID("snap", "snapshotId", in.SnapshotId)
	if err != nil {
		return nil, err
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if _, err := ownSnapshot(v, account(c), fsm.SnapshotID(id)); err != nil {
			return nil, err
		}
		if image, ok := imageOfSnapshot(v, fsm.SnapshotID(id)); ok {
			return nil, bad("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, image)
		}
		return &fsm.DeleteSnapshot{ID: fsm.SnapshotID(id), Account: account(c)}, dryRun(in.DryRun)
	}, fsm.ErrInUse)
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "snapshot deleted", "snapshot", id)
	return &ec2.DeleteSnapshotOutput{}, nil
}

// imageOfSnapshot is an image that is made of a snapshot, if there is one.
func imageOfSnapshot(v *fsm.View, id fsm.SnapshotID) (fsm.ImageID, bool) {
	for _, image := range fsm.Images.Scan(v, "") {
		if slices.ContainsFunc(image.Mappings, func(m fsm.BlockMapping) bool { return m.Snapshot == id }) {
			return image.ID, true
		}
	}
	return "", false
}
