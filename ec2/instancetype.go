package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// runnable are the types whose architecture a member's guests can have.
func (s *Service) runnable() []instanceType {
	nodes := s.cfg.Nodes()
	return slices.DeleteFunc(slices.Clone(instanceTypes), func(t instanceType) bool {
		return !slices.ContainsFunc(nodes, func(n NodeInfo) bool { return n.runs(t.Arch) && slices.Contains(n.Caps, CapEC2) })
	})
}

// fits tells whether a node that was empty could run an instance of the type.
func (n NodeInfo) fits(t instanceType) bool {
	return slices.Contains(n.Caps, CapEC2) && n.runs(t.Arch) && n.VCPUs >= t.VCPUs && n.MemoryMiB >= t.Memory
}

func (t instanceType) cores() int { return t.VCPUs / t.Threads }

// bootModes are what images for the type can boot by.
func (t instanceType) bootModes() []types.BootModeType {
	if t.Arch == archARM {
		return []types.BootModeType{types.BootModeTypeUefi}
	}
	return []types.BootModeType{types.BootModeTypeLegacyBios, types.BootModeTypeUefi}
}

// maxAttachments is how many volumes an instance can have, its root volume included: as many as its machine has ports.
const maxAttachments = 24

// typeFilters are the filters of DescribeInstanceTypes. Source: its page in the Amazon EC2 API Reference.
var typeFilters = filterTable[instanceType]{names: map[string]func(instanceType) []string{
	"auto-recovery-supported":                                 func(instanceType) []string { return yesNo(false) },
	"bare-metal":                                              func(instanceType) []string { return yesNo(false) },
	"burstable-performance-supported":                         func(t instanceType) []string { return yesNo(t.Burst) },
	"current-generation":                                      func(t instanceType) []string { return yesNo(t.Current) },
	"dedicated-hosts-supported":                               func(instanceType) []string { return yesNo(false) },
	"ebs-info.attachment-limit-type":                          func(instanceType) []string { return one(types.AttachmentLimitTypeDedicated) },
	"ebs-info.maximum-ebs-attachments":                        func(instanceType) []string { return number(maxAttachments) },
	"ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps":  none[instanceType],
	"ebs-info.ebs-optimized-info.baseline-iops":               none[instanceType],
	"ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": none[instanceType],
	"ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps":   none[instanceType],
	"ebs-info.ebs-optimized-info.maximum-iops":                none[instanceType],
	"ebs-info.ebs-optimized-info.maximum-throughput-in-mbps":  none[instanceType],
	"ebs-info.ebs-optimized-support":                          func(instanceType) []string { return one(types.EbsOptimizedSupportUnsupported) },
	"ebs-info.encryption-support":                             func(instanceType) []string { return one(types.EbsEncryptionSupportUnsupported) },
	"ebs-info.nvme-support":                                   func(instanceType) []string { return one(types.EbsNvmeSupportUnsupported) },
	"free-tier-eligible":                                      func(instanceType) []string { return yesNo(false) },
	"hibernation-supported":                                   func(instanceType) []string { return yesNo(false) },
	"hypervisor":                                              none[instanceType],
	"instance-storage-info.disk.count":                        none[instanceType],
	"instance-storage-info.disk.size-in-gb":                   none[instanceType],
	"instance-storage-info.disk.type":                         none[instanceType],
	"instance-storage-info.encryption-support":                none[instanceType],
	"instance-storage-info.nvme-support":                      none[instanceType],
	"instance-storage-info.total-size-in-gb":                  none[instanceType],
	"instance-storage-supported":                              func(instanceType) []string { return yesNo(false) },
	"instance-type":                                           func(t instanceType) []string { return one(t.Name) },
	"memory-info.size-in-mib":                                 func(t instanceType) []string { return number(t.Memory) },
	"network-info.bandwidth-weightings":                       none[instanceType],
	"network-info.efa-info.maximum-efa-interfaces":            none[instanceType],
	"network-info.efa-supported":                              func(instanceType) []string { return yesNo(false) },
	"network-info.ena-support":                                func(instanceType) []string { return one(types.EnaSupportUnsupported) },
	"network-info.encryption-in-transit-supported":            func(instanceType) []string { return yesNo(false) },
	"network-info.flexible-ena-queues-support":                none[instanceType],
	"network-info.ipv4-addresses-per-interface":               func(instanceType) []string { return number(1) },
	"network-info.ipv6-addresses-per-interface":               func(instanceType) []string { return number(0) },
	"network-info.ipv6-supported":                             func(instanceType) []string { return yesNo(false) },
	"network-info.maximum-network-cards":                      func(instanceType) []string { return number(1) },
	"network-info.maximum-network-interfaces":                 func(instanceType) []string { return number(1) },
	"network-info.network-performance":                        none[instanceType],
	"nitro-enclaves-support":                                  func(instanceType) []string { return one(types.NitroEnclavesSupportUnsupported) },
	"nitro-tpm-info.supported-versions":                       none[instanceType],
	"nitro-tpm-support":                                       func(instanceType) []string { return one(types.NitroTpmSupportUnsupported) },
	"processor-info.supported-architecture":                   func(t instanceType) []string { return one(t.Arch) },
	"processor-info.supported-features":                       none[instanceType],
	"processor-info.sustained-clock-speed-in-ghz":             none[instanceType],
	"reboot-migration-support":                                none[instanceType],
	"supported-boot-mode":                                     instanceType.bootModeNames,
	"supported-root-device-type":                              func(instanceType) []string { return one(types.RootDeviceTypeEbs) },
	"supported-usage-class":                                   func(instanceType) []string { return one(types.UsageClassTypeOnDemand) },
	"supported-virtualization-type":                           func(instanceType) []string { return one(types.VirtualizationTypeHvm) },
	"vcpu-info.default-cores":                                 func(t instanceType) []string { return number(t.cores()) },
	"vcpu-info.default-threads-per-core":                      func(t instanceType) []string { return number(t.Threads) },
	"vcpu-info.default-vcpus":                                 func(t instanceType) []string { return number(t.VCPUs) },
	"vcpu-info.valid-cores":                                   func(t instanceType) []string { return number(t.cores()) },
	"vcpu-info.valid-threads-per-core":                        func(t instanceType) []string { return number(t.Threads) },
}}

func (t instanceType) bootModeNames() (out []string) {
	for _, m := range t.bootModes() {
		out = append(out, string(m))
	}
	return out
}

// DescribeInstanceTypes tells of the types that the cluster's nodes can run.
func (s *Service) DescribeInstanceTypes(ctx context.Context, c *principal.Caller, in *sdk.DescribeInstanceTypesInput) (*sdk.DescribeInstanceTypesOutput, error) {
	if len(in.InstanceTypes) > 0 && in.MaxResults != nil {
		return nil, bad(codeCombination, "The parameter InstanceTypes cannot be used with the parameter MaxResults")
	}
	rows, next, err := list(ctx, s, c, listing[instanceType]{
		op: "DescribeInstanceTypes", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		limits: limits{5, 100}, table: typeFilters, order: func(t instanceType) string { return t.Name },
		rows: func(*fsm.View) ([]instanceType, error) { return typesAsked(s.runnable(), in.InstanceTypes) },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeInstanceTypesOutput{NextToken: next, InstanceTypes: make([]types.InstanceTypeInfo, 0, len(rows))}
	for _, t := range rows {
		out.InstanceTypes = append(out.InstanceTypes, typeOut(t))
	}
	return out, nil
}

func typesAsked(all []instanceType, names []types.InstanceType) ([]instanceType, error) {
	if len(names) == 0 {
		return all, nil
	}
	var unknown []string
	for _, name := range names {
		if !slices.ContainsFunc(all, func(t instanceType) bool { return t.Name == string(name) }) {
			unknown = append(unknown, string(name))
		}
	}
	if unknown != nil {
		return nil, bad("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
	}
	return slices.DeleteFunc(all, func(t instanceType) bool { return !slices.Contains(names, types.InstanceType(t.Name)) }), nil
}

func typeOut(t instanceType) types.InstanceTypeInfo {
	cores, threads, vcpus := int32(t.cores()), int32(t.Threads), int32(t.VCPUs)
	return types.InstanceTypeInfo{
		AutoRecoverySupported: aws.Bool(false), BareMetal: aws.Bool(false), BurstablePerformanceSupported: aws.Bool(t.Burst),
		CurrentGeneration: aws.Bool(t.Current), DedicatedHostsSupported: aws.Bool(false), FreeTierEligible: aws.Bool(false),
		HibernationSupported: aws.Bool(false), InstanceStorageSupported: aws.Bool(false), InstanceType: types.InstanceType(t.Name),
		EbsInfo: &types.EbsInfo{
			AttachmentLimitType: types.AttachmentLimitTypeDedicated, EbsOptimizedSupport: types.EbsOptimizedSupportUnsupported,
			EncryptionSupport: types.EbsEncryptionSupportUnsupported, MaximumEbsAttachments: aws.Int32(maxAttachments), NvmeSupport: types.EbsNvmeSupportUnsupported,
		},
		MemoryInfo: &types.MemoryInfo{SizeInMiB: aws.Int64(t.Memory)},
		NetworkInfo: &types.NetworkInfo{
			EfaSupported: aws.Bool(false), EnaSupport: types.EnaSupportUnsupported, EncryptionInTransitSupported: aws.Bool(false),
			Ipv4AddressesPerInterface: aws.Int32(1), Ipv6AddressesPerInterface: aws.Int32(0), Ipv6Supported: aws.Bool(false),
			MaximumNetworkCards: aws.Int32(1), MaximumNetworkInterfaces: aws.Int32(1), DefaultNetworkCardIndex: aws.Int32(0),
		},
		NitroEnclavesSupport: types.NitroEnclavesSupportUnsupported, NitroTpmSupport: types.NitroTpmSupportUnsupported,
		PlacementGroupInfo:           &types.PlacementGroupInfo{SupportedStrategies: []types.PlacementGroupStrategy{}},
		ProcessorInfo:                &types.ProcessorInfo{SupportedArchitectures: []types.ArchitectureType{types.ArchitectureType(t.Arch)}},
		SupportedBootModes:           t.bootModes(),
		SupportedRootDeviceTypes:     []types.RootDeviceType{types.RootDeviceTypeEbs},
		SupportedUsageClasses:        []types.UsageClassType{types.UsageClassTypeOnDemand},
		SupportedVirtualizationTypes: []types.VirtualizationType{types.VirtualizationTypeHvm},
		VCpuInfo: &types.VCpuInfo{
			DefaultCores: &cores, DefaultThreadsPerCore: &threads, DefaultVCpus: &vcpus, ValidCores: []int32{cores}, ValidThreadsPerCore: []int32{threads},
		},
	}
}

// offering is a type on offer somewhere.
type offering struct {
	typ, location string
	kind          types.LocationType
}

var offeringFilters = filterTable[offering]{names: map[string]func(offering) []string{
	"availability-zone":    func(o offering) []string { return o.at(types.LocationTypeAvailabilityZone) },
	"availability-zone-id": func(o offering) []string { return o.at(types.LocationTypeAvailabilityZoneId) },
	"instance-type":        func(o offering) []string { return one(o.typ) },
	"location":             func(o offering) []string { return one(o.location) },
	"outpost":              none[offering],
	"region":               func(o offering) []string { return o.at(types.LocationTypeRegion) },
}}

func (o offering) at(kind types.LocationType) []string {
	if o.kind != kind {
		return nil
	}
	return one(o.location)
}

// DescribeInstanceTypeOfferings tells where types are on offer: where a node is large enough for them.
func (s *Service) DescribeInstanceTypeOfferings(ctx context.Context, c *principal.Caller, in *sdk.DescribeInstanceTypeOfferingsInput) (*sdk.DescribeInstanceTypeOfferingsOutput, error) {
	kind := in.LocationType
	if kind == "" {
		kind = types.LocationTypeRegion
	}
	rows, next, err := list(ctx, s, c, listing[offering]{
		op: "DescribeInstanceTypeOfferings", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: offeringFilters, order: func(o offering) string { return fsm.Key(o.typ, o.location) },
		rows: func(*fsm.View) ([]offering, error) { return s.offerings(kind), nil },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeInstanceTypeOfferingsOutput{NextToken: next, InstanceTypeOfferings: make([]types.InstanceTypeOffering, 0, len(rows))}
	for _, o := range rows {
		out.InstanceTypeOfferings = append(out.InstanceTypeOfferings, types.InstanceTypeOffering{
			InstanceType: types.InstanceType(o.typ), Location: aws.String(o.location), LocationType: kind,
		})
	}
	return out, nil
}

func (s *Service) offerings(kind types.LocationType) []offering {
	where := map[types.LocationType]func(zone string) string{
		types.LocationTypeRegion:             func(string) string { return s.cfg.Region },
		types.LocationTypeAvailabilityZone:   func(zone string) string { return zone },
		types.LocationTypeAvailabilityZoneId: func(zone string) string { return zoneID(s.cfg.Region, zone) },
	}[kind]
	var out []offering
	if where == nil {
		return nil // outposts: there are none
	}
	nodes := s.cfg.Nodes()
	for _, t := range instanceTypes {
		for _, n := range nodes {
			if o := (offering{t.Name, where(n.Zone), kind}); n.fits(t) && !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
	}
	return out
}
