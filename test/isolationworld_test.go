package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/crypto/ssh"

	"hive/test/rig"
)

// tenantWorld is an account as the tests of isolation see it: who calls, and what it has by the names that calls have for it.
type tenantWorld struct {
	who     string
	clients map[string]any // of the SDK, by service
	has     map[string]string
	shared  map[string]string
}

// sdkClients are one of each service. They never retry.
func sdkClients(n *rig.Node, k key) map[string]any {
	cred, at := credentials.NewStaticCredentialsProvider(k.id, k.secret, ""), aws.String(n.Endpoint())
	return map[string]any{
		"ec2":        ec2Client(n, k),
		"s3":         s3.New(s3.Options{Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}, UsePathStyle: true}),
		"iam":        iam.New(iam.Options{Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}}),
		"sts":        sts.New(sts.Options{Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}}),
		"ebs":        ebs.New(ebs.Options{Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}}),
		"cloudtrail": cloudtrail.New(cloudtrail.Options{Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}}),
		"tagging": resourcegroupstaggingapi.New(resourcegroupstaggingapi.Options{
			Region: rig.Region, BaseEndpoint: at, Credentials: cred, Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{}}),
	}
}

// callSDK calls a client's method with an input that is decoded JSON; a member that is a stream is a string there.
func callSDK(ctx context.Context, client any, op string, input any) (string, error) {
	method := reflect.ValueOf(client).MethodByName(op)
	if !method.IsValid() {
		return "", fmt.Errorf("the SDK has no %s", op)
	}
	in := reflect.New(method.Type().In(1).Elem())
	members, _ := input.(map[string]any)
	for _, name := range []string{"Body", "BlockData"} {
		if body, ok := members[name].(string); ok {
			in.Elem().FieldByName(name).Set(reflect.ValueOf(strings.NewReader(body)))
			delete(members, name)
		}
	}
	raw, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in.Interface()); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	got := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, ok := got[1].Interface().(error); ok {
		return "", err
	}
	return answerOf(got[0].Elem())
}

// answerOf is an output as JSON, with its stream as a string and without what the SDK adds.
func answerOf(v reflect.Value) (string, error) {
	out := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		out[f.Name] = v.Field(i).Interface()
		if stream, ok := out[f.Name].(io.ReadCloser); ok {
			raw, err := io.ReadAll(stream)
			if err = errors.Join(err, stream.Close()); err != nil {
				return "", err
			}
			out[f.Name] = fmt.Sprintf("%d bytes: %.2000s", len(raw), raw)
		}
	}
	raw, err := json.Marshal(out)
	return string(raw), err
}

// sharedValues are what calls need that is no account's.
func sharedValues(t *testing.T) map[string]string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	public, err := ssh.NewPublicKey(&private.PublicKey)
	must(t, err)
	line := string(ssh.MarshalAuthorizedKey(public))
	subject := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "isolation"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, subject, subject, &private.PublicKey, private)
	must(t, err)
	block := strings.Repeat("b", 512<<10)
	sum := sha256.Sum256([]byte(block))
	return map[string]string{
		"allow":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		"trust":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`,
		"region": rig.Region, "zone": rig.Region + "a", "etag": `"f4c9385f1902f7334b00b9b4ecd164de"`, "thumb": strings.Repeat("ab", 20), "sshpub": line, "sshpub64": base64.StdEncoding.EncodeToString([]byte(line)),
		"pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "block": block, "blocksum": base64.StdEncoding.EncodeToString(sum[:]),
		"pemkey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})),
		"saml": `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example/metadata">` +
			`<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><!--` + strings.Repeat("-=", 500) + `--></IDPSSODescriptor></EntityDescriptor>`,
	}
}

// step is a call that makes something, and where in its answer what is kept of it is: "UserArn=User.Arn".
type step struct{ service, op, input, keep string }

// tenantOf gives an account one of everything.
func tenantOf(ctx context.Context, nodes []*rig.Node, k key, account, name string, shared map[string]string) (*tenantWorld, error) {
	w := &tenantWorld{who: "root of " + name, clients: sdkClients(nodes[0], k), shared: shared, has: map[string]string{"Account": account, "Password": "Correct-Horse-9-" + name}}
	for _, kind := range []string{"User", "Bare", "Group", "Role", "Profile", "Certificate", "Alias", "Bucket", "KeyName", "Token"} {
		w.has[kind] = "isolated-" + strings.ToLower(kind) + "-" + name
	}
	w.has["Source"] = w.has["Bucket"]
	for _, steps := range [][]step{identities, machines} {
		for _, s := range steps {
			if err := w.do(ctx, s); err != nil {
				return nil, fmt.Errorf("%s: %s %s: %w", w.who, s.op, s.input, err)
			}
		}
	}
	w.has["VolumeArn"] = "arn:aws:ec2:" + rig.Region + ":" + account + ":volume/" + w.has["Volume"]
	return w, w.message(ctx, nodes[0])
}

// do carries out a step; one that waits for a state, until it is there.
func (w *tenantWorld) do(ctx context.Context, s step) error {
	if !strings.Contains(s.keep, ":") {
		return w.once(ctx, s)
	}
	return rig.Await(ctx, s.op, func(ctx context.Context) error { return w.once(ctx, s) })
}

func (w *tenantWorld) once(ctx context.Context, s step) error {
	out, err := w.call(ctx, s.service, s.op, s.input, nil)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return err
	}
	for _, keep := range strings.Fields(s.keep) {
		name, path, _ := strings.Cut(keep, "=")
		got, err := at(v, path)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if name, want, ok := strings.Cut(name, ":"); ok { // State:completed=…
			if got != want {
				return fmt.Errorf("%s is %s", name, got)
			}
			continue
		}
		w.has[name] = got
	}
	return nil
}

// at is the string at a path of decoded JSON: "Instances.0.VpcId".
func at(v any, path string) (string, error) {
	for _, part := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			if len(x) == 0 {
				return "", fmt.Errorf("nothing at %s of %s", part, path)
			}
			v = x[0]
		}
	}
	s, ok := v.(string)
	if !ok || s == "" {
		return "", fmt.Errorf("nothing at %s", path)
	}
	return s, nil
}

var encoded = regexp.MustCompile(`authorization failure message: ([\w=-]+)`)

// message is a denial of a user without policies, sealed for the account.
func (w *tenantWorld) message(ctx context.Context, n *rig.Node) error {
	user := sdkClients(n, key{w.has["AccessKey"], w.has["secret"]})
	_, err := callSDK(ctx, user["ec2"], "DescribeVolumes", map[string]any{})
	delete(w.has, "secret")
	if err == nil {
		return errors.New("a user without a policy describes volumes")
	}
	found := encoded.FindStringSubmatch(err.Error())
	if found == nil {
		return fmt.Errorf("no encoded message: %w", err)
	}
	w.has["Message"] = found[1]
	return nil
}

// as is the account with a user of its own that may do everything there.
func (w *tenantWorld) as(t *testing.T, n *rig.Node, name string) *tenantWorld {
	t.Helper()
	as := *w
	for _, s := range []step{
		{"iam", "CreateUser", `{"UserName":"` + name + `"}`, ""},
		{"iam", "AttachUserPolicy", `{"UserName":"` + name + `","PolicyArn":"arn:aws:iam::aws:policy/AdministratorAccess"}`, ""},
		{"iam", "CreateAccessKey", `{"UserName":"` + name + `"}`, "id=AccessKey.AccessKeyId secret=AccessKey.SecretAccessKey"},
	} {
		must(t, w.do(soon(t), s))
	}
	as.who, as.clients = name+" of "+w.who, sdkClients(n, key{w.has["id"], w.has["secret"]})
	return &as
}

// identities are what IAM and S3 make.
var identities = []step{
	{"iam", "CreateUser", `{"UserName":"$User","Tags":[{"Key":"k","Value":"$User"}]}`, "UserArn=User.Arn UserID=User.UserId"},
	{"iam", "CreateUser", `{"UserName":"$Bare"}`, ""},
	{"iam", "CreateAccessKey", `{"UserName":"$User"}`, "AccessKey=AccessKey.AccessKeyId secret=AccessKey.SecretAccessKey"},
	{"iam", "CreateLoginProfile", `{"UserName":"$User","Password":"$Password"}`, ""},
	{"iam", "CreateGroup", `{"GroupName":"$Group"}`, "GroupArn=Group.Arn GroupID=Group.GroupId"},
	{"iam", "CreateRole", `{"RoleName":"$Role","AssumeRolePolicyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"$Account\"},\"Action\":\"sts:AssumeRole\"},{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"ec2.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}"}`, "RoleArn=Role.Arn RoleID=Role.RoleId Own=Role.Arn"},
	{"iam", "CreatePolicy", `{"PolicyName":"isolated","PolicyDocument":"$allow"}`, "Policy=Policy.Arn PolicyID=Policy.PolicyId"},
	{"iam", "CreateInstanceProfile", `{"InstanceProfileName":"$Profile"}`, "ProfileArn=InstanceProfile.Arn ProfileID=InstanceProfile.InstanceProfileId"},
	{"iam", "AddRoleToInstanceProfile", `{"InstanceProfileName":"$Profile","RoleName":"$Role"}`, ""},
	{"iam", "AddUserToGroup", `{"GroupName":"$Group","UserName":"$Bare"}`, ""},
	{"iam", "PutUserPolicy", `{"UserName":"$Bare","PolicyName":"inline","PolicyDocument":"$allow"}`, ""},
	{"iam", "PutGroupPolicy", `{"GroupName":"$Group","PolicyName":"inline","PolicyDocument":"$allow"}`, ""},
	{"iam", "PutRolePolicy", `{"RoleName":"$Role","PolicyName":"inline","PolicyDocument":"$allow"}`, ""},
	{"iam", "AttachRolePolicy", `{"RoleName":"$Role","PolicyArn":"$Policy"}`, ""},
	{"iam", "CreateOpenIDConnectProvider", `{"Url":"https://$Group.example.com","ClientIDList":["client"],"ThumbprintList":["$thumb"]}`, "OIDC=OpenIDConnectProviderArn"},
	{"iam", "CreateSAMLProvider", `{"Name":"$Group","SAMLMetadataDocument":"$saml"}`, "SAML=SAMLProviderArn"},
	{"iam", "CreateVirtualMFADevice", `{"VirtualMFADeviceName":"$Group"}`, "MFA=VirtualMFADevice.SerialNumber"},
	{"iam", "UploadServerCertificate", `{"ServerCertificateName":"$Certificate","CertificateBody":"$pem","PrivateKey":"$pemkey"}`, "CertificateID=ServerCertificateMetadata.ServerCertificateId"},
	{"iam", "UploadSSHPublicKey", `{"UserName":"$User","SSHPublicKeyBody":"$sshpub"}`, "SSHKey=SSHPublicKey.SSHPublicKeyId"},
	{"iam", "UploadSigningCertificate", `{"UserName":"$User","CertificateBody":"$pem"}`, "Signing=Certificate.CertificateId"},
	{"iam", "CreateServiceSpecificCredential", `{"UserName":"$User","ServiceName":"codecommit.amazonaws.com"}`, "Credential=ServiceSpecificCredential.ServiceSpecificCredentialId"},
	{"iam", "CreateServiceLinkedRole", `{"AWSServiceName":"autoscaling.amazonaws.com","CustomSuffix":"$Group"}`, "Linked=Role.RoleName"},
	{"iam", "CreateServiceLinkedRole", `{"AWSServiceName":"autoscaling.amazonaws.com","CustomSuffix":"gone-$Group"}`, "Unlinked=Role.RoleName"},
	{"iam", "DeleteServiceLinkedRole", `{"RoleName":"$Unlinked"}`, "Task=DeletionTaskId"},
	{"iam", "GenerateServiceLastAccessedDetails", `{"Arn":"arn:aws:iam::$Account:user/$Bare"}`, "Job=JobId"},
	{"iam", "CreateAccountAlias", `{"AccountAlias":"$Alias"}`, ""},
	{"iam", "UpdateAccountPasswordPolicy", `{"MinimumPasswordLength":8}`, ""},
	{"iam", "GenerateCredentialReport", `{}`, ""},
	{"iam", "ListUsers", `{"MaxItems":1}`, "Marker=Marker"},
	{"s3", "CreateBucket", `{"Bucket":"$Bucket","CreateBucketConfiguration":{"LocationConstraint":"$region"}}`, ""},
	{"s3", "CreateBucket", `{"Bucket":"$Bucket-more","CreateBucketConfiguration":{"LocationConstraint":"$region"}}`, ""},
	{"s3", "ListBuckets", `{"MaxBuckets":1}`, "Buckets=ContinuationToken"},
	{"s3", "PutObject", `{"Bucket":"$Bucket","Key":"k","Body":"$block"}`, ""},
	{"s3", "CreateMultipartUpload", `{"Bucket":"$Bucket","Key":"k"}`, "Upload=UploadId"},
	{"s3", "UploadPart", `{"Bucket":"$Bucket","Key":"k","UploadId":"$Upload","PartNumber":1,"Body":"part"}`, ""},
}

// machines are what EC2 makes. The instance has an empty disk and boots nothing.
var machines = []step{
	{"ec2", "CreateKeyPair", `{"KeyName":"$KeyName"}`, "KeyID=KeyPairId"},
	{"ec2", "CreateVolume", `{"AvailabilityZone":"$zone","Size":1}`, "Volume=VolumeId"},
	{"ec2", "CreateTags", `{"Resources":["$Volume"],"Tags":[{"Key":"k","Value":"$Group"},{"Key":"l","Value":"v"},{"Key":"m","Value":"v"},{"Key":"n","Value":"v"},{"Key":"o","Value":"v"},{"Key":"p","Value":"v"}]}`, ""},
	{"ec2", "DescribeTags", `{"MaxResults":5}`, "Tags=NextToken"},
	{"ec2", "DescribeVolumes", `{"VolumeIds":["$Volume"]}`, "State:available=Volumes.0.State"},
	{"ebs", "StartSnapshot", `{"VolumeSize":1}`, "Snapshot=SnapshotId"},
	{"ebs", "PutSnapshotBlock", `{"SnapshotId":"$Snapshot","BlockIndex":0,"BlockData":"$block","DataLength":524288,"Checksum":"$blocksum","ChecksumAlgorithm":"SHA256"}`, ""},
	{"ebs", "CompleteSnapshot", `{"SnapshotId":"$Snapshot","ChangedBlocksCount":1}`, ""},
	{"ec2", "DescribeSnapshots", `{"SnapshotIds":["$Snapshot"]}`, "State:completed=Snapshots.0.State"},
	{"ebs", "StartSnapshot", `{"VolumeSize":1,"ParentSnapshotId":"$Snapshot"}`, "Snapshot2=SnapshotId"},
	{"ebs", "CompleteSnapshot", `{"SnapshotId":"$Snapshot2","ChangedBlocksCount":0}`, ""},
	{"ec2", "DescribeSnapshots", `{"SnapshotIds":["$Snapshot2"]}`, "State:completed=Snapshots.0.State"},
	{"ebs", "StartSnapshot", `{"VolumeSize":1}`, "Pending=SnapshotId"},
	{"ebs", "ListSnapshotBlocks", `{"SnapshotId":"$Snapshot"}`, "Block=Blocks.0.BlockToken"},
	{"ec2", "RegisterImage", `{"Name":"isolated","Architecture":"x86_64","VirtualizationType":"hvm","BootMode":"legacy-bios","RootDeviceName":"/dev/sda1","BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"SnapshotId":"$Snapshot"}}]}`, "Image=ImageId"},
	{"ec2", "ImportSnapshot", `{"DiskContainer":{"Format":"RAW","UserBucket":{"S3Bucket":"$Bucket","S3Key":"k"}}}`, "Import=ImportTaskId"},
	{"ec2", "DescribeImportSnapshotTasks", `{"ImportTaskIds":["$Import"]}`, "Status:completed=ImportSnapshotTasks.0.SnapshotTaskDetail.Status"},
	{"ec2", "RunInstances", `{"ImageId":"$Image","InstanceType":"t2.nano","MinCount":1,"MaxCount":1,"KeyName":"$KeyName","IamInstanceProfile":{"Name":"$Profile"}}`,
		"Instance=Instances.0.InstanceId Vpc=Instances.0.VpcId Subnet=Instances.0.SubnetId Security=Instances.0.SecurityGroups.0.GroupId Interface=Instances.0.NetworkInterfaces.0.NetworkInterfaceId"},
	{"ec2", "DescribeInstances", `{"InstanceIds":["$Instance"]}`, "State:running=Reservations.0.Instances.0.State.Name Root=Reservations.0.Instances.0.BlockDeviceMappings.0.Ebs.VolumeId"},
	{"ec2", "DescribeIamInstanceProfileAssociations", `{}`, "Association=IamInstanceProfileAssociations.0.AssociationId"},
}
