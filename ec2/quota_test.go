package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func TestWhatAQuotaDoesNotAllowIsRefusedInEC2sWords(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	limit := func(name string, n int64) { r.must(&fsm.SetQuota{Account: aliceID, Name: name, Limit: n}) }
	launch := func(n int32) error {
		_, err := r.client.RunInstances(t.Context(), &sdk.RunInstancesInput{
			ImageId: &ami, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(n), MaxCount: aws.Int32(n),
		})
		return err
	}
	limit(fsm.QuotaVCPUs, 3)
	wantCode(t, launch(2), "VcpuLimitExceeded") // two vCPUs each
	limit(fsm.QuotaVCPUs, 4)
	limit(fsm.QuotaInstances, 1)
	wantCode(t, launch(2), "InstanceLimitExceeded")
	limit(fsm.QuotaInstances, 2)
	if err := launch(2); err != nil {
		t.Error(err)
	}
	limit(fsm.QuotaKeyPairs, 1)
	for i, want := range []string{"", "ResourceLimitExceeded"} {
		_, err := r.client.CreateKeyPair(t.Context(), &sdk.CreateKeyPairInput{KeyName: str(string(rune('a' + i))), KeyType: types.KeyTypeEd25519})
		wantCode(t, err, want)
	}
	limit(fsm.QuotaVolumes, 3)
	_, err := r.client.CreateVolume(t.Context(), &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1a"), Size: aws.Int32(1)})
	if err != nil {
		t.Error(err)
	}
	_, err = r.client.CreateVolume(t.Context(), &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1a"), Size: aws.Int32(1)})
	wantCode(t, err, "VolumeLimitExceeded")
	if _, err := r.bob.CreateVolume(t.Context(), &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1a"), Size: aws.Int32(1)}); err != nil {
		t.Errorf("another account's quota: %v", err)
	}
}
