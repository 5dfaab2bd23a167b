package ec2

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// States of an import, as EC2 names them.
const (
	importActive    = "active"
	importCompleted = "completed"
	importDeleted   = "deleted" // also of one that has failed
)

// Prefixes of the ids of imports.
const (
	imageTask    = "import-ami"
	snapshotTask = "import-snap"
)

// importFormats are the disk files that can be imported. QCOW2 and VDI are ours, AWS has OVA besides.
var importFormats = []string{"RAW", "VHD", "VHDX", "VMDK", "QCOW2", "VDI"}

// diskSource is where an import reads from.
type diskSource struct {
	format, url *string
	bucket      *types.UserBucket
}

// location is the source's bucket and key.
func (d diskSource) location() (bucket, key string, err error) {
	switch {
	case d.bucket != nil && d.url != nil:
		return "", "", bad(codeCombination, "A disk container has either a UserBucket or a Url.")
	case d.bucket != nil:
		bucket, key = aws.ToString(d.bucket.S3Bucket), aws.ToString(d.bucket.S3Key)
	case d.url != nil:
		u, err := url.Parse(*d.url)
		if err != nil || u.Scheme != "s3" {
			return "", "", invalid("Value (%s) for parameter Url is invalid. Expected: 's3://BUCKET/KEY'.", *d.url)
		}
		bucket, key = u.Host, strings.TrimPrefix(u.Path, "/")
	default:
		return "", "", missing("UserBucket")
	}
	if bucket == "" || key == "" {
		return "", "", missing("S3Bucket, S3Key")
	}
	return bucket, key, nil
}

// task is an import of the source, checked as far as it can be without reading the disk.
func (s *Service) task(ctx context.Context, c *principal.Caller, prefix string, d diskSource) (fsm.ImportTask, error) {
	format := strings.ToUpper(orElse(aws.ToString(d.format), "RAW"))
	if !slices.Contains(importFormats, format) {
		return fsm.ImportTask{}, bad("InvalidParameter", "The disk format '%s' is not supported. Supported formats are: %s.", format, strings.Join(importFormats, ", "))
	}
	bucket, key, err := d.location()
	if err != nil {
		return fsm.ImportTask{}, err
	}
	if s.cfg.Objects == nil || s.cfg.ToRaw == nil {
		return fsm.ImportTask{}, bad(codeUnsupported, "This node does not import: ask one that serves S3.")
	}
	body, size, err := s.cfg.Objects(ctx, account(c), bucket, key)
	if err != nil {
		if isRefusal(err) {
			return fsm.ImportTask{}, bad("InvalidParameter", "The object %s of bucket %s cannot be read: %v", key, bucket, err)
		}
		return fsm.ImportTask{}, err
	}
	if err := body.Close(); err != nil {
		return fsm.ImportTask{}, err
	}
	if size == 0 {
		return fsm.ImportTask{}, bad("InvalidParameter", "The object %s of bucket %s is empty.", key, bucket)
	}
	id, err := s.newID(prefix)
	return fsm.ImportTask{
		ID: id, Account: account(c), Node: s.cfg.Node, Status: importActive, Message: "pending", Format: format, Bucket: bucket, Key: key, Created: s.now(),
	}, err
}

// isRefusal tells whether err is an answer to a client and not a fault.
func isRefusal(err error) bool {
	var refused *protocol.Error
	return errors.As(err, &refused)
}

// begun is the import that a client token has begun before, also when its object is gone since.
func (s *Service) begun(ctx context.Context, once *fsm.ClientToken, dry *bool) (task fsm.ImportTask, found bool, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		ids, err := made(v, once)
		if found = len(ids) > 0; !found || err != nil {
			return err
		}
		task, _ = fsm.ImportTasks.Get(v, ids[0])
		return dryRun(dry)
	})
	return task, found, err
}

// begin records an import; a client token that was used answers the import that it began.
func (s *Service) begin(ctx context.Context, c *principal.Caller, task fsm.ImportTask, once *fsm.ClientToken, dry *bool) (fsm.ImportTask, error) {
	err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		ids, err := made(v, once)
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 {
			task, _ = fsm.ImportTasks.Get(v, ids[0])
			return nil, dryRun(dry)
		}
		if once != nil {
			once.IDs = []string{task.ID}
		}
		return &fsm.PutImportTask{Task: task, Once: once}, dryRun(dry)
	})
	if err == nil {
		s.changed(ctx, c, "import begun", "task", task.ID, "bucket", task.Bucket, "key", task.Key)
	}
	return task, err
}

// ImportImage begins the making of an image of a disk file in S3. A disk whose boot mode is not given boots as its
// partitions say.
func (s *Service) ImportImage(ctx context.Context, c *principal.Caller, in *ec2.ImportImageInput) (*ec2.ImportImageOutput, error) {
	if err := supports(in, "Architecture", "BootMode", "ClientData", "ClientToken", "Description", "DiskContainers", "Hypervisor", "LicenseType",
		"Platform", "RoleName", "TagSpecifications"); err != nil {
		return nil, err
	}
	if len(in.DiskContainers) != 1 {
		return nil, bad("InvalidParameter", "An import takes one disk container, not %d.", len(in.DiskContainers))
	}
	d := in.DiskContainers[0]
	if d.SnapshotId != nil {
		return nil, bad(codeUnsupported, "An image of a snapshot is made by RegisterImage.")
	}
	if p := aws.ToString(in.Platform); p != "" && !strings.EqualFold(p, "linux") {
		return nil, bad(codeUnsupported, "The platform '%s' is not supported.", p)
	}
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	asked := fsm.Image{Arch: orElse(aws.ToString(in.Architecture), archX86), BootMode: string(in.BootMode), RootDevice: defaultRootDevice}
	guess := asked.BootMode == "" && asked.Arch != archARM
	if err := checkBoot(&asked); err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeImportImageTask)
	if err != nil {
		return nil, err
	}
	once, err := s.once(c, "ImportImage", in.ClientToken, in)
	if err != nil {
		return nil, err
	}
	if guess {
		asked.BootMode = ""
	}
	task, found, err := s.begun(ctx, once, in.DryRun)
	if err == nil && !found {
		task, err = s.beginImage(ctx, c, in, asked, tags[types.ResourceTypeImportImageTask], once)
	}
	if err != nil {
		return nil, err
	}
	t := imageTaskOut(importRow{task, task.Tags})
	return &ec2.ImportImageOutput{
		Architecture: t.Architecture, Description: t.Description, ImportTaskId: t.ImportTaskId, Platform: t.Platform, Progress: t.Progress,
		SnapshotDetails: t.SnapshotDetails, Status: t.Status, StatusMessage: t.StatusMessage, Tags: t.Tags, ImageId: t.ImageId,
	}, nil
}

// beginImage records the import of an image; one without a boot mode boots as its partitions say.
func (s *Service) beginImage(ctx context.Context, c *principal.Caller, in *ec2.ImportImageInput, asked fsm.Image, tags []fsm.Tag, once *fsm.ClientToken) (fsm.ImportTask, error) {
	d := in.DiskContainers[0]
	task, err := s.task(ctx, c, imageTask, diskSource{d.Format, d.Url, d.UserBucket})
	if err != nil {
		return task, err
	}
	image, err := s.newID("ami")
	if err != nil {
		return task, err
	}
	task.Image, task.Arch, task.BootMode, task.Description, task.Tags = fsm.ImageID(image), asked.Arch, asked.BootMode, aws.ToString(in.Description), tags
	return s.begin(ctx, c, task, once, in.DryRun)
}

// ImportSnapshot begins the making of a snapshot of a disk file in S3.
func (s *Service) ImportSnapshot(ctx context.Context, c *principal.Caller, in *ec2.ImportSnapshotInput) (*ec2.ImportSnapshotOutput, error) {
	if err := supports(in, "ClientData", "ClientToken", "Description", "DiskContainer", "RoleName", "TagSpecifications"); err != nil {
		return nil, err
	}
	if in.DiskContainer == nil {
		return nil, missing("DiskContainer")
	}
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeImportSnapshotTask)
	if err != nil {
		return nil, err
	}
	once, err := s.once(c, "ImportSnapshot", in.ClientToken, in)
	if err != nil {
		return nil, err
	}
	task, found, err := s.begun(ctx, once, in.DryRun)
	if err == nil && !found {
		task, err = s.beginSnapshot(ctx, c, in, tags[types.ResourceTypeImportSnapshotTask], once)
	}
	if err != nil {
		return nil, err
	}
	t := snapshotTaskOut(importRow{task, task.Tags})
	return &ec2.ImportSnapshotOutput{Description: t.Description, ImportTaskId: t.ImportTaskId, SnapshotTaskDetail: t.SnapshotTaskDetail, Tags: t.Tags}, nil
}

func (s *Service) beginSnapshot(ctx context.Context, c *principal.Caller, in *ec2.ImportSnapshotInput, tags []fsm.Tag, once *fsm.ClientToken) (fsm.ImportTask, error) {
	d := in.DiskContainer
	task, err := s.task(ctx, c, snapshotTask, diskSource{d.Format, d.Url, d.UserBucket})
	if err != nil {
		return task, err
	}
	task.Description, task.Tags = orElse(aws.ToString(in.Description), aws.ToString(d.Description)), tags
	return s.begin(ctx, c, task, once, in.DryRun)
}

// importRow is an import and its tags.
type importRow struct {
	fsm.ImportTask
	tags []fsm.Tag
}

func (r importRow) progress() *string {
	if r.Status != importActive {
		return nil
	}
	return aws.String(strconv.Itoa(r.Progress))
}

// message is why an import is in its state; nil for one that is completed.
func (r importRow) message() *string {
	if r.Message == "" {
		return nil
	}
	return &r.Message
}

// snapshot is the snapshot that is told of: none before it is whole.
func (r importRow) snapshot() *string {
	if r.Status != importCompleted {
		return nil
	}
	return aws.String(string(r.Snapshot))
}

func (r importRow) size() *float64 {
	if r.Size == 0 {
		return nil
	}
	return aws.Float64(float64(r.Size))
}

func (r importRow) source() *types.UserBucketDetails {
	return &types.UserBucketDetails{S3Bucket: &r.Bucket, S3Key: &r.Key}
}

func imageTaskOut(r importRow) types.ImportImageTask {
	out := types.ImportImageTask{
		ImportTaskId: &r.ID, Architecture: &r.Arch, BootMode: types.BootModeValues(r.BootMode), Description: &r.Description, Platform: aws.String("Linux"),
		Progress: r.progress(), Status: &r.Status, StatusMessage: r.message(), Tags: tagsOut(r.tags),
		SnapshotDetails: []types.SnapshotDetail{{
			DeviceName: aws.String(defaultRootDevice), DiskImageSize: r.size(), Format: &r.Format, Progress: r.progress(), SnapshotId: r.snapshot(), Status: &r.Status,
			UserBucket: r.source(),
		}},
	}
	if r.Status == importCompleted {
		out.ImageId = aws.String(string(r.Image))
	}
	return out
}

func snapshotTaskOut(r importRow) types.ImportSnapshotTask {
	return types.ImportSnapshotTask{
		ImportTaskId: &r.ID, Description: &r.Description, Tags: tagsOut(r.tags),
		SnapshotTaskDetail: &types.SnapshotTaskDetail{
			Description: &r.Description, DiskImageSize: r.size(), Encrypted: aws.Bool(false), Format: &r.Format, Progress: r.progress(), SnapshotId: r.snapshot(),
			Status: &r.Status, StatusMessage: r.message(), UserBucket: r.source(),
		},
	}
}

var importFilters = filterTable[importRow]{
	names: map[string]func(importRow) []string{"task-state": func(r importRow) []string { return one(r.Status) }},
	tags:  func(r importRow) []fsm.Tag { return r.tags },
}

// importQuery is what a describe of imports asks for.
type importQuery struct {
	op, prefix string
	in         any
	ids        []string
	filters    []types.Filter
	maxResults *int32
	token      *string
}

func (s *Service) pageOfImports(ctx context.Context, c *principal.Caller, q importQuery) (rows []importRow, next *string, err error) {
	if err := checkIDs(q.prefix, q.ids); err != nil {
		return nil, nil, err
	}
	matches, err := importFilters.compile(q.filters)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPage(pageRequest{c.Account, q.op, q.in, q.maxResults, q.token}, limits{1, 1000})
	if err != nil {
		return nil, nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		for _, t := range fsm.ImportTasks.Scan(v, "") {
			if t.Account == account(c) && strings.HasPrefix(t.ID, q.prefix+"-") && (len(q.ids) == 0 || slices.Contains(q.ids, t.ID)) {
				rows = append(rows, importRow{t, fsm.TagsOf(v, t.ID)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, id := range q.ids {
		if !slices.ContainsFunc(rows, func(r importRow) bool { return r.ID == id }) {
			return nil, nil, notFound(id)
		}
	}
	rows = slices.DeleteFunc(rows, func(r importRow) bool { return !matches(r) })
	rows, next = turn(p, rows, func(r importRow) string { return r.ID })
	return rows, next, nil
}

// DescribeImportImageTasks tells of imports of images.
func (s *Service) DescribeImportImageTasks(ctx context.Context, c *principal.Caller, in *ec2.DescribeImportImageTasksInput) (*ec2.DescribeImportImageTasksOutput, error) {
	rows, next, err := s.pageOfImports(ctx, c, importQuery{
		op: "DescribeImportImageTasks", prefix: imageTask, in: in, ids: in.ImportTaskIds, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeImportImageTasksOutput{ImportImageTasks: make([]types.ImportImageTask, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.ImportImageTasks = append(out.ImportImageTasks, imageTaskOut(r))
	}
	return out, dryRun(in.DryRun)
}

// DescribeImportSnapshotTasks tells of imports of snapshots.
func (s *Service) DescribeImportSnapshotTasks(ctx context.Context, c *principal.Caller, in *ec2.DescribeImportSnapshotTasksInput) (*ec2.DescribeImportSnapshotTasksOutput, error) {
	rows, next, err := s.pageOfImports(ctx, c, importQuery{
		op: "DescribeImportSnapshotTasks", prefix: snapshotTask, in: in, ids: in.ImportTaskIds, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeImportSnapshotTasksOutput{ImportSnapshotTasks: make([]types.ImportSnapshotTask, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.ImportSnapshotTasks = append(out.ImportSnapshotTasks, snapshotTaskOut(r))
	}
	return out, dryRun(in.DryRun)
}

// CancelImportTask ends an import that is active. The node that carries it out sees that, and cleans up.
func (s *Service) CancelImportTask(ctx context.Context, c *principal.Caller, in *ec2.CancelImportTaskInput) (*ec2.CancelImportTaskOutput, error) {
	id := aws.ToString(in.ImportTaskId)
	prefix := imageTask
	if strings.HasPrefix(id, snapshotTask) {
		prefix = snapshotTask
	}
	if _, err := requiredID(prefix, "importTaskId", in.ImportTaskId); err != nil {
		return nil, err
	}
	var before fsm.ImportTask
	err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		var ok bool
		if before, ok = fsm.ImportTasks.Get(v, id); !ok || before.Account != account(c) {
			return nil, notFound(id)
		}
		if before.Status != importActive {
			return nil, bad("IncorrectState", "The import task '%s' is %s.", id, before.Status)
		}
		after := before
		after.Status, after.Message = importDeleted, orElse(aws.ToString(in.CancelReason), "cancelled by its owner")
		return &fsm.PutImportTask{Task: after, Rev: before.Rev}, dryRun(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	// Without its snapshot the node that writes it ends at once.
	if err := s.dropPending(ctx, before); err != nil {
		return nil, err
	}
	s.changed(ctx, c, "import cancelled", "task", id)
	return &ec2.CancelImportTaskOutput{ImportTaskId: &id, PreviousState: &before.Status, State: aws.String(importDeleted)}, nil
}
