package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd"
	"hive/awsd/ec2api"
	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/principal"
)

// operations are those that have a handler.
func operations(t *testing.T) (ops []*protocol.Operation) {
	t.Helper()
	handlers := ec2api.Bind(New(Config{}))
	all, err := ec2api.API().Operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range all {
		if handlers[op.Name] != nil {
			ops = append(ops, op)
		}
	}
	return ops
}

// everyRig has one of everything of alice's.
type everyRig struct {
	*importRig
	running, stopped            string // instances
	volume, attached            string
	used, snapshot, image, task string
	key, vpc, subnet, tie       string
	nic, security               string
	clerk                       *sdk.Client // a user of alice's without policies
}

func newEveryRig(t *testing.T) *everyRig {
	t.Helper()
	r := &everyRig{importRig: newImportRig(t)}
	r.objects["disk"] = []byte("disk")
	for i, name := range []string{"web", "batch"} {
		r.must(&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: aliceID, ID: fsm.EntityID("AIPAALICE" + string(rune('1'+i))), Name: name, Path: "/", Created: 1}})
	}
	r.running, r.stopped = r.instance(fsm.InstanceRunning), r.instance(fsm.InstanceStopped)
	r.volume, r.attached = r.storageRig.volume(1), r.storageRig.volume(1)
	r.snapshot = r.blocks(map[int64]byte{0: 1})
	r.attach(r.attached, r.running)
	r.made(&sdk.CreateKeyPairInput{KeyName: str("pair")}, nil)
	images := &sdk.DescribeImagesOutput{}
	r.made(&sdk.DescribeImagesInput{}, images)
	r.image, r.used = *images.Images[0].ImageId, *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
	pairs := &sdk.DescribeKeyPairsOutput{}
	r.made(&sdk.DescribeKeyPairsInput{}, pairs)
	r.key = *pairs.KeyPairs[0].KeyPairId
	task := &sdk.ImportSnapshotOutput{}
	r.made(&sdk.ImportSnapshotInput{DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://disks/disk")}}, task)
	r.task = *task.ImportTaskId
	tie := &sdk.AssociateIamInstanceProfileOutput{}
	r.made(&sdk.AssociateIamInstanceProfileInput{InstanceId: &r.running, IamInstanceProfile: profileNamed("web")}, tie)
	r.tie = *tie.IamInstanceProfileAssociation.AssociationId
	interfaces := &sdk.DescribeNetworkInterfacesOutput{}
	r.made(&sdk.DescribeNetworkInterfacesInput{}, interfaces)
	x := interfaces.NetworkInterfaces[0]
	r.vpc, r.subnet, r.nic, r.security = *x.VpcId, *x.SubnetId, *x.NetworkInterfaceId, *x.Groups[0].GroupId
	r.clerk = r.newClerk()
	return r
}

func profileNamed(name string) *types.IamInstanceProfileSpecification {
	return &types.IamInstanceProfileSpecification{Name: &name}
}

// attach attaches a volume as the instance's node would tell.
func (r *everyRig) attach(volume, instance string) {
	r.t.Helper()
	r.made(&sdk.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: str("/dev/sdf")}, nil)
	r.must(&fsm.SetVolumeAttached{ID: fsm.VolumeID(volume), Generation: r.record(volume).Generation})
}

// made calls an operation as alice, which must be done, and puts its answer into out.
func (r *everyRig) made(in, out any) {
	r.t.Helper()
	op := strings.TrimSuffix(reflect.TypeOf(in).Elem().Name(), "Input")
	got, err := call(r.ctx, r.client, op, in)
	if err != nil {
		r.t.Fatalf("%s: %v", op, err)
	}
	if out != nil {
		reflect.ValueOf(out).Elem().Set(reflect.ValueOf(got).Elem())
	}
}

// call has a client carry out an operation.
func call(ctx context.Context, client *sdk.Client, op string, in any) (any, error) {
	got := reflect.ValueOf(client).MethodByName(op).Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(in)})
	err, _ := got[1].Interface().(error)
	return got[0].Interface(), err
}

// plainSealer seals nothing: what is sealed is seen in tests of who may open it elsewhere.
type plainSealer struct{}

func (plainSealer) Seal(plain []byte, context string) ([]byte, error) {
	return append([]byte(context+"\x00"), plain...), nil
}

func (plainSealer) Open(sealed []byte, context string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte(context+"\x00"))
	if !ok {
		return nil, errors.New("not sealed for " + context)
	}
	return plain, nil
}

// clerkKey is the key of a user of alice's account.
type clerkKey struct{ caller principal.Caller }

func (k clerkKey) Lookup(context.Context, string, string) (string, principal.Caller, error) {
	return "secret", k.caller, nil
}

// newClerk is a user who has no policy, behind a front door where policies decide.
func (r *everyRig) newClerk() *sdk.Client {
	r.t.Helper()
	const id, arn = "AIDAALICECLERK", "arn:aws:iam::" + aliceID + ":user/clerk"
	r.must(&fsm.CreateUser{User: fsm.User{Account: aliceID, ID: id, Name: "clerk", Path: "/", Created: 1}})
	door := httptest.NewServer(awsd.New(awsd.Config{
		Region: testRegion, Keys: clerkKey{principal.Caller{Account: aliceID, ARN: arn, UserID: id, UserName: "clerk"}},
		Authorizer: iam.NewAuthorizer(r.group, plainSealer{}, r.now),
		Services:   []awsd.Service{{API: ec2api.API(), Handlers: ec2api.Bind(r.service), Access: actions.New(testRegion, r.group.View).Access("ec2")}},
	}))
	r.t.Cleanup(door.Close)
	return sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: &door.URL, RetryMaxAttempts: 1, HTTPClient: wholeBodies{}, Credentials: credentials.NewStaticCredentialsProvider("AKIACLERK", "secret", ""),
	})
}

func (r *everyRig) digest() [32]byte {
	r.t.Helper()
	_, sum, err := r.group.Digest()
	r.ok(err)
	return sum
}

// answer is an output as text, without what the SDK adds.
func answer(out any) string {
	v := reflect.ValueOf(out).Elem()
	v.FieldByName("ResultMetadata").SetZero()
	raw, err := json.Marshal(v.Interface())
	return fmt.Sprint(string(raw), err)
}

// requests are one of each operation that can be done, in the order of the alphabet.
func (r *everyRig) requests() []any {
	tags := []types.Tag{{Key: str("a"), Value: str("b")}}
	public := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5RlDkp9nyUl9JE4aTlxcR3z7NtGT9Ol3QSNTiRkmCw x"
	return []any{
		&sdk.AssociateIamInstanceProfileInput{InstanceId: &r.stopped, IamInstanceProfile: profileNamed("web")},
		&sdk.AttachVolumeInput{VolumeId: &r.volume, InstanceId: &r.running, Device: str("/dev/sdg")},
		&sdk.CancelImportTaskInput{ImportTaskId: &r.task},
		&sdk.CreateImageInput{InstanceId: &r.stopped, Name: str("made")},
		&sdk.CreateKeyPairInput{KeyName: str("fresh")},
		&sdk.CreateSnapshotInput{VolumeId: &r.volume},
		&sdk.CreateTagsInput{Resources: []string{r.volume}, Tags: tags},
		&sdk.CreateVolumeInput{AvailabilityZone: str(storageZone), Size: aws.Int32(1)},
		&sdk.DeleteKeyPairInput{KeyPairId: &r.key},
		&sdk.DeleteSnapshotInput{SnapshotId: &r.snapshot},
		&sdk.DeleteTagsInput{Resources: []string{r.volume}, Tags: tags},
		&sdk.DeleteVolumeInput{VolumeId: &r.volume},
		&sdk.DeregisterImageInput{ImageId: &r.image},
		&sdk.DescribeAccountAttributesInput{},
		&sdk.DescribeAvailabilityZonesInput{},
		&sdk.DescribeIamInstanceProfileAssociationsInput{AssociationIds: []string{r.tie}},
		&sdk.DescribeImageAttributeInput{ImageId: &r.image, Attribute: types.ImageAttributeNameLaunchPermission},
		&sdk.DescribeImagesInput{ImageIds: []string{r.image}},
		&sdk.DescribeImportImageTasksInput{},
		&sdk.DescribeImportSnapshotTasksInput{ImportTaskIds: []string{r.task}},
		&sdk.DescribeInstanceAttributeInput{InstanceId: &r.running, Attribute: types.InstanceAttributeNameInstanceType},
		&sdk.DescribeInstanceStatusInput{InstanceIds: []string{r.running}},
		&sdk.DescribeInstanceTypeOfferingsInput{},
		&sdk.DescribeInstanceTypesInput{},
		&sdk.DescribeInstancesInput{InstanceIds: []string{r.running}},
		&sdk.DescribeKeyPairsInput{KeyPairIds: []string{r.key}},
		&sdk.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{r.nic}},
		&sdk.DescribeRegionsInput{},
		&sdk.DescribeSecurityGroupsInput{GroupIds: []string{r.security}},
		&sdk.DescribeSnapshotAttributeInput{SnapshotId: &r.snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission},
		&sdk.DescribeSnapshotsInput{SnapshotIds: []string{r.snapshot}},
		&sdk.DescribeSubnetsInput{SubnetIds: []string{r.subnet}},
		&sdk.DescribeTagsInput{},
		&sdk.DescribeVolumeAttributeInput{VolumeId: &r.volume, Attribute: types.VolumeAttributeNameAutoEnableIO},
		&sdk.DescribeVolumeStatusInput{VolumeIds: []string{r.volume}},
		&sdk.DescribeVolumesInput{VolumeIds: []string{r.volume}},
		&sdk.DescribeVpcAttributeInput{VpcId: &r.vpc, Attribute: types.VpcAttributeNameEnableDnsSupport},
		&sdk.DescribeVpcsInput{VpcIds: []string{r.vpc}},
		&sdk.DetachVolumeInput{VolumeId: &r.attached},
		&sdk.DisassociateIamInstanceProfileInput{AssociationId: &r.tie},
		&sdk.GetConsoleOutputInput{InstanceId: &r.running},
		&sdk.ImportImageInput{DiskContainers: []types.ImageDiskContainer{{Format: str("raw"), Url: str("s3://disks/disk")}}},
		&sdk.ImportKeyPairInput{KeyName: str("fresh"), PublicKeyMaterial: []byte(public)},
		&sdk.ImportSnapshotInput{DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://disks/disk")}},
		&sdk.ModifyImageAttributeInput{ImageId: &r.image, Description: &types.AttributeValue{Value: str("changed")}},
		&sdk.ModifyInstanceAttributeInput{InstanceId: &r.running, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}},
		&sdk.ModifyInstanceMetadataOptionsInput{InstanceId: &r.running, HttpTokens: types.HttpTokensStateRequired},
		&sdk.RebootInstancesInput{InstanceIds: []string{r.running}},
		registration(r.snapshot, "fresh"),
		&sdk.ReplaceIamInstanceProfileAssociationInput{AssociationId: &r.tie, IamInstanceProfile: profileNamed("batch")},
		&sdk.ResetImageAttributeInput{ImageId: &r.image, Attribute: types.ResetImageAttributeNameLaunchPermission},
		launchOf(r.image, "t3.nano", 1, 1),
		&sdk.StartInstancesInput{InstanceIds: []string{r.stopped}},
		&sdk.StopInstancesInput{InstanceIds: []string{r.running}},
		&sdk.TerminateInstancesInput{InstanceIds: []string{r.running}},
	}
}

// request is the one of an operation.
func (r *everyRig) request(t *testing.T, op string) any {
	t.Helper()
	all := r.requests()
	i := slices.IndexFunc(all, func(in any) bool { return reflect.TypeOf(in).Elem().Name() == op+"Input" })
	if i < 0 {
		t.Fatalf("%s is answered, and no request of it is known here", op)
	}
	return all[i]
}

// httpStatus is the HTTP status of an SDK's error.
func httpStatus(err error) int {
	var e *awshttp.ResponseError
	if errors.As(err, &e) {
		return e.HTTPStatusCode()
	}
	return 0
}
