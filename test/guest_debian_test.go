//go:build nightly

package test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/test/guest"
)

// TestACloudInitGuest boots a whole Debian or Ubuntu, which without KVM takes minutes: cloud-init finds EC2, makes the user,
// grows the disk and runs user-data, without one error.
func TestACloudInitGuest(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	ami := l.importImage(t, n, guest.Debian(t), "debian", "uefi")
	l.keyFile = l.dir + "/key"
	material := awsCLI(t, n, l.k, "ec2", "create-key-pair", "--key-name", "lab", "--query", "KeyMaterial", "--output", "text")
	must(t, os.WriteFile(l.keyFile, []byte(material+"\n"), 0o600))
	const config = "#cloud-config\nwrite_files:\n- path: /var/lib/mark\n  content: mark\nruncmd:\n- [sh, -c, 'echo ran >/var/lib/ran']\n"
	out, err := l.via(1).RunInstances(soon(t), &ec2.RunInstancesInput{
		ImageId: &ami, InstanceType: types.InstanceTypeT3Small, KeyName: aws.String("lab"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		UserData:            aws.String(base64.StdEncoding.EncodeToString([]byte(config))),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(4)}}},
	})
	must(t, err)
	id, user := *out.Instances[0].InstanceId, "debian"
	l.vpc = *out.Instances[0].VpcId
	if release, err := os.ReadFile("/etc/os-release"); err == nil && strings.Contains(string(release), "ID=ubuntu") {
		user = "ubuntu"
	}
	l.running(t, id)
	for range 3 { // a boot takes longer than anything else here
		if err = l.await(t, id, user, "cloud-init's end", "cloud-init status --wait >/dev/null"); err == nil {
			break
		}
	}
	must(t, err)
	got := l.sh(t, n, id, `cat /var/lib/mark /var/lib/ran; sudo cat /run/cloud-init/result.json; df -BG --output=size / | tail -n 1; hostname`, user, l.keyFile)
	for _, want := range []string{"mark", "ran\n", `"errors": []`, "DataSourceEc2", "4G", "ip-"} {
		if !strings.Contains(got, want) {
			t.Errorf("the guest does not say %q:\n%s", want, got)
		}
	}
	_, err = l.via(1).TerminateInstances(soon(t), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	l.gone(t, id)
}
