package ec2

import (
	"errors"
	"net/http"
	"strings"

	"hive/awsd/protocol"
	"hive/fsm"
)

// quotaFaults are EC2's answers to what an account's quotas do not allow; LIMIT stands for the quota.
// Source: "Error codes for the Amazon EC2 API".
var quotaFaults = map[string]struct{ code, words string }{
	fsm.QuotaInstances: {"InstanceLimitExceeded", "You have requested more instances than your current instance limit of LIMIT allows."},
	fsm.QuotaVCPUs: {"VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of LIMIT allows " +
		"for the instance bucket that the specified instance type belongs to."},
	fsm.QuotaVolumes:        {"VolumeLimitExceeded", "You have exceeded your maximum number of volumes, LIMIT."},
	fsm.QuotaVolumeGiB:      {"VolumeLimitExceeded", "You have exceeded your maximum storage limit of LIMIT GiB in this region."},
	fsm.QuotaSnapshots:      {"SnapshotLimitExceeded", "You have exceeded your maximum number of snapshots, LIMIT."},
	fsm.QuotaImages:         {"ResourceLimitExceeded", "You have exceeded your maximum number of images, LIMIT."},
	fsm.QuotaKeyPairs:       {"ResourceLimitExceeded", "You have exceeded your maximum number of key pairs, LIMIT."},
	fsm.QuotaVPCs:           {"VpcLimitExceeded", "The maximum number of VPCs has been reached, LIMIT."},
	fsm.QuotaSubnets:        {"SubnetLimitExceeded", "The maximum number of subnets has been reached, LIMIT."},
	fsm.QuotaSecurityGroups: {"SecurityGroupLimitExceeded", "The maximum number of security groups has been reached, LIMIT."},
	fsm.QuotaInterfaces:     {"NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached, LIMIT."},
	fsm.QuotaAddresses:      {"AddressLimitExceeded", "The maximum number of addresses has been reached, LIMIT."},
}

// overQuota is EC2's answer to a refusal for a quota's sake; nil for any other.
func overQuota(err error) *protocol.Error {
	refused := (*fsm.Error)(nil)
	if !errors.Is(err, fsm.ErrLimit) || !errors.As(err, &refused) {
		return nil
	}
	rest, ok := strings.CutPrefix(refused.Resource, "quota/")
	if !ok {
		return nil
	}
	name, limit, _ := strings.Cut(rest, ": ")
	fault, ok := quotaFaults[name]
	if !ok {
		return nil
	}
	return protocol.Errorf(http.StatusBadRequest, fault.code, "%s Ask the operator of this region for more.", strings.ReplaceAll(fault.words, "LIMIT", limit))
}
