package node

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"hive/awsd"
	"hive/awsd/stsapi"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/internal/fsmtest"
	"hive/internal/seal"
	"hive/net/imds"
)

// anywhere is a Source that takes whoever asks for one instance.
type anywhere struct{ one imds.Instance }

func (a anywhere) Instance(fsm.VPCID, netip.Addr) (imds.Instance, bool, error) {
	return a.one, true, nil
}

// TestAWSClientFindsItsCredentialsInTheMetadata: the aws CLI as it is in a guest, with nothing configured.
func TestAWSClientFindsItsCredentialsInTheMetadata(t *testing.T) {
	const account = "123456789012"
	group, log := fsmtest.New(t, fsm.Control), slog.New(slog.DiscardHandler)
	box, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first, err := iam.Bootstrap(iam.BootstrapOptions{AccountID: account, Sealer: box, Now: time.Now(), Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	role := fsm.Role{Account: account, ID: "AROAAAAAAAAAAAAAAAAAA", Name: "web", Path: "/", MaxSession: 3600,
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`}
	profile := fsm.InstanceProfile{Account: account, ID: "AIPAAAAAAAAAAAAAAAAAA", Name: "p", Path: "/"}
	for _, cmd := range append(first.Commands, &fsm.CreateRole{Role: role}, &fsm.CreateInstanceProfile{Profile: profile},
		&fsm.AddRoleToInstanceProfile{Account: account, Profile: profile.ID, Role: role.ID}) {
		if err := group.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	authorizer := iam.NewAuthorizer(group, box, time.Now)
	tokens := iam.NewSTS(iam.STSConfig{Group: group, Sealer: box, Authorizer: authorizer, Clock: time.Now, Rand: rand.Reader, Log: log})
	api := httptest.NewServer(awsd.New(awsd.Config{
		Region: "eu-north-1", Keys: iam.NewKeys(group, box, time.Now), Authorizer: authorizer,
		Services: []awsd.Service{{API: stsapi.API(), Handlers: stsapi.Bind(tokens), Access: actions.New("eu-north-1", group.View).Access("sts")}},
	}))
	t.Cleanup(api.Close)

	profile.Role = role.ID
	i := imds.Instance{Region: "eu-north-1", InstanceProfile: profile, Role: role, Instance: fsm.Instance{
		ID: "i-00000000000000001", Account: account, Address: "172.31.0.5", Zone: "eu-north-1a", Profile: profile.ID,
		Metadata: fsm.MetadataOptions{TokensRequired: true, HopLimit: 1},
	}}
	metadata, err := imds.New(imds.Config{
		Source: anywhere{i}, Key: []byte("0123456789abcdef"), Credentials: roleCredentials(tokens), Clock: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	inside := httptest.NewServer(metadata.Handler("vpc-1"))
	t.Cleanup(inside.Close)

	cli := exec.CommandContext(t.Context(), "aws", "sts", "get-caller-identity", "--endpoint-url", api.URL, "--region", "eu-north-1", "--output", "json")
	cli.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + inside.URL}
	var stderr bytes.Buffer
	cli.Stderr = &stderr
	out, err := cli.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var who struct{ Arn, UserID, Account string }
	if err := json.Unmarshal(out, &who); err != nil || who.Arn != "arn:aws:sts::123456789012:assumed-role/web/i-00000000000000001" {
		t.Errorf("%s, %v", out, err)
	}
}
