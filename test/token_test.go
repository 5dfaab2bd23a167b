package test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/test/rig"
)

// tokensHold: a request that is sent again with its client token, to another node and under another leader, is the same
// request.
func tokensHold(t *testing.T, c *rig.Cluster) {
	n, k := c.Nodes, root(c)
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(rig.Region + "a"), Size: aws.Int32(1), ClientToken: aws.String("over-the-change")}
	first, err := ec2Client(n[0], k).CreateVolume(soon(t), in)
	must(t, err)
	before, err := n[0].Status(soon(t))
	must(t, err)
	must(t, second(hive(t, "raft", "transfer-leadership", "--group", "control", "--yes", "--hive-dir", n[1].Dir)))
	after, err := n[0].Status(soon(t))
	must(t, err)
	if before.Groups[0].Term == after.Groups[0].Term {
		t.Errorf("the leader has not changed: %+v", after.Groups[0])
	}
	for _, node := range n[1:] {
		again, err := ec2Client(node, k).CreateVolume(soon(t), in)
		must(t, err)
		if *again.VolumeId != *first.VolumeId {
			t.Errorf("%s has made %s, not %s", node.Name, *again.VolumeId, *first.VolumeId)
		}
		other := *in
		other.Size = aws.Int32(2)
		_, err = ec2Client(node, k).CreateVolume(soon(t), &other)
		wantCode(t, err, "IdempotentParameterMismatch")
	}
	_, err = ec2Client(n[2], k).DeleteVolume(soon(t), &ec2.DeleteVolumeInput{VolumeId: first.VolumeId})
	must(t, err)
}
