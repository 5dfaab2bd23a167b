package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/ec2"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/admin"
	"hive/s3"
)

// teardownTimeout bounds the deletion of an account with all that it has.
const teardownTimeout = 30 * time.Minute

// deleteAccount removes an account that has nothing; with ?force=true all that it has goes first, with a line for each step.
func (n *Node) deleteAccount(w http.ResponseWriter, r *http.Request) {
	a, err := n.account(r.Context(), r.PathValue("account"))
	if err != nil {
		n.answer(w, nil, err)
		return
	}
	force := r.URL.Query().Get("force") == "true"
	if !force {
		if err := n.dropAccount(r.Context(), a.ID, false); err != nil {
			n.answer(w, nil, err)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	say := func(p admin.Progress) {
		if err := errors.Join(json.NewEncoder(w).Encode(p), flush.Flush()); err != nil {
			n.log.Debug("admin progress", "err", err)
		}
	}
	if force {
		if err := n.tearDown(r.Context(), a, func(step string) { say(admin.Progress{Step: step}) }); err != nil {
			say(admin.Progress{Error: err.Error()})
			return
		}
	}
	n.log.Info("account deleted", "account", a.ID, "name", a.Name, "force", force)
	say(admin.Progress{Step: "account " + string(a.ID) + " is deleted", Percent: 100, Done: true})
}

func (n *Node) dropAccount(ctx context.Context, id fsm.AccountID, entities bool) error {
	err := n.propose(ctx, &fsm.DeleteAccount{ID: id, Entities: entities})
	refused := (*fsm.Error)(nil)
	switch {
	case errors.Is(err, fsm.ErrInUse) && errors.As(err, &refused):
		return fmt.Errorf("account %s has %s: delete them first, or repeat with --force to have them deleted", id, refused.Resource)
	case errors.Is(err, fsm.ErrDenied):
		return fmt.Errorf("account %s is the cluster's last one: create another first", id)
	}
	return err
}

// tearDown ends all that an account has, and the account.
func (n *Node) tearDown(ctx context.Context, a fsm.Account, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, teardownTimeout)
	defer cancel()
	machines, objects := n.machines.Load(), n.objects.Load()
	if machines == nil || objects == nil {
		return errors.New("the services of this node do not run yet: try again in a moment")
	}
	if !a.Suspended { // so that nothing new comes
		a.Suspended = true
		if err := n.propose(ctx, &fsm.UpdateAccount{Account: a}); err != nil {
			return err
		}
		say("suspended: nobody acts for it any more")
	}
	id := string(a.ID)
	t := teardown{
		caller:   &principal.Caller{Account: id, ARN: "arn:aws:iam::" + id + ":root", UserID: id, Root: true, Region: n.cfg.Region},
		machines: machines, objects: objects, say: say,
	}
	for _, step := range []func(context.Context) error{t.instances, t.images, t.snapshots, t.volumes, t.keys, t.buckets} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w; what was deleted is gone, the account is suspended: repeat the command to go on", err)
		}
	}
	say("users, groups, roles and policies go with the account")
	return n.dropAccount(ctx, a.ID, true)
}

type teardown struct {
	caller   *principal.Caller
	machines *ec2.Service
	objects  *s3.Service
	say      func(string)
}

// instances terminates and waits.
func (t *teardown) instances(ctx context.Context) error {
	for asked := false; ; asked = true {
		out, err := t.machines.DescribeInstances(ctx, t.caller, &sdk.DescribeInstancesInput{})
		if err != nil {
			return err
		}
		var ids []string
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				if i.State.Name != types.InstanceStateNameTerminated {
					ids = append(ids, *i.InstanceId)
				}
			}
		}
		if len(ids) == 0 {
			return nil
		}
		if !asked {
			t.say(fmt.Sprintf("terminating %d instances", len(ids)))
			for _, id := range ids {
				off := &sdk.ModifyInstanceAttributeInput{InstanceId: aws.String(id), DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(false)}}
				if _, err := t.machines.ModifyInstanceAttribute(ctx, t.caller, off); err != nil {
					return err
				}
			}
			if _, err := t.machines.TerminateInstances(ctx, t.caller, &sdk.TerminateInstancesInput{InstanceIds: ids}); err != nil {
				return err
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%d instances are still ending: %w", len(ids), ctx.Err())
		}
	}
}

func (t *teardown) images(ctx context.Context) error {
	out, err := t.machines.DescribeImages(ctx, t.caller, &sdk.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		return err
	}
	for _, i := range out.Images {
		if _, err := t.machines.DeregisterImage(ctx, t.caller, &sdk.DeregisterImageInput{ImageId: i.ImageId}); err != nil {
			return err
		}
	}
	t.told(len(out.Images), "images deregistered")
	return nil
}

func (t *teardown) told(count int, what string) {
	if count > 0 {
		t.say(fmt.Sprintf("%d %s", count, what))
	}
}

func (t *teardown) snapshots(ctx context.Context) error {
	out, err := t.machines.DescribeSnapshots(ctx, t.caller, &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		return err
	}
	for _, s := range out.Snapshots {
		if _, err := t.machines.DeleteSnapshot(ctx, t.caller, &sdk.DeleteSnapshotInput{SnapshotId: s.SnapshotId}); err != nil {
			return err
		}
	}
	t.told(len(out.Snapshots), "snapshots deleted")
	return nil
}

func (t *teardown) volumes(ctx context.Context) error {
	out, err := t.machines.DescribeVolumes(ctx, t.caller, &sdk.DescribeVolumesInput{})
	if err != nil {
		return err
	}
	for _, v := range out.Volumes {
		if _, err := t.machines.DeleteVolume(ctx, t.caller, &sdk.DeleteVolumeInput{VolumeId: v.VolumeId}); err != nil {
			return err
		}
	}
	t.told(len(out.Volumes), "volumes deleted")
	return nil
}

func (t *teardown) keys(ctx context.Context) error {
	out, err := t.machines.DescribeKeyPairs(ctx, t.caller, &sdk.DescribeKeyPairsInput{})
	if err != nil {
		return err
	}
	for _, k := range out.KeyPairs {
		if _, err := t.machines.DeleteKeyPair(ctx, t.caller, &sdk.DeleteKeyPairInput{KeyName: k.KeyName}); err != nil {
			return err
		}
	}
	t.told(len(out.KeyPairs), "key pairs deleted")
	return nil
}

func (t *teardown) buckets(ctx context.Context) error {
	out, err := t.objects.ListBuckets(ctx, t.caller, &awss3.ListBucketsInput{})
	if err != nil {
		return err
	}
	for _, b := range out.Buckets {
		n, err := t.empty(ctx, b.Name)
		if err != nil {
			return err
		}
		if _, err := t.objects.DeleteBucket(ctx, t.caller, &awss3.DeleteBucketInput{Bucket: b.Name}); err != nil {
			return err
		}
		t.say(fmt.Sprintf("bucket %s deleted with %d objects", *b.Name, n))
	}
	return nil
}

// empty deletes the objects and the uploads of a bucket.
func (t *teardown) empty(ctx context.Context, bucket *string) (objects int, err error) {
	for {
		page, err := t.objects.ListObjectsV2(ctx, t.caller, &awss3.ListObjectsV2Input{Bucket: bucket})
		if err != nil {
			return objects, err
		}
		if len(page.Contents) == 0 {
			break
		}
		del := &s3types.Delete{Quiet: aws.Bool(true)}
		for _, o := range page.Contents {
			del.Objects = append(del.Objects, s3types.ObjectIdentifier{Key: o.Key})
		}
		gone, err := t.objects.DeleteObjects(ctx, t.caller, &awss3.DeleteObjectsInput{Bucket: bucket, Delete: del})
		if err != nil {
			return objects, err
		}
		if len(gone.Errors) > 0 {
			return objects, fmt.Errorf("object %s of bucket %s: %s", aws.ToString(gone.Errors[0].Key), *bucket, aws.ToString(gone.Errors[0].Message))
		}
		objects += len(page.Contents)
	}
	uploads, err := t.objects.ListMultipartUploads(ctx, t.caller, &awss3.ListMultipartUploadsInput{Bucket: bucket})
	for err == nil && len(uploads.Uploads) > 0 {
		for _, u := range uploads.Uploads {
			abort := &awss3.AbortMultipartUploadInput{Bucket: bucket, Key: u.Key, UploadId: u.UploadId}
			if _, err := t.objects.AbortMultipartUpload(ctx, t.caller, abort); err != nil {
				return objects, err
			}
		}
		uploads, err = t.objects.ListMultipartUploads(ctx, t.caller, &awss3.ListMultipartUploadsInput{Bucket: bucket})
	}
	return objects, err
}
