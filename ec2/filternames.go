package ec2

import (
	"maps"
	"slices"
)

// namedFilters is a filterTable of any rows.
type namedFilters interface{ filterNames() []string }

// filterNames are the names of a table, in order; those of tags stand for any key.
func (t filterTable[T]) filterNames() []string {
	names := slices.Sorted(maps.Keys(t.names))
	if t.tags != nil {
		names = append(names, "tag:KEY", "tag-key", "tag-value")
	}
	return names
}

// FilterNames are the filters that an operation takes, for the documentation; nil for one that takes none. It reads what the
// operations themselves go by.
func (s *Service) FilterNames(op string) []string {
	tables := map[string]namedFilters{
		"DescribeAvailabilityZones":              s.zoneFilters(),
		"DescribeIamInstanceProfileAssociations": tieFilters,
		"DescribeImages":                         imageFilters,
		"DescribeImportImageTasks":               importFilters,
		"DescribeImportSnapshotTasks":            importFilters,
		"DescribeInstanceStatus":                 statusFilters,
		"DescribeInstanceTypeOfferings":          offeringFilters,
		"DescribeInstanceTypes":                  typeFilters,
		"DescribeInstances":                      s.instanceFilters(),
		"DescribeKeyPairs":                       keyFilters,
		"DescribeNetworkInterfaces":              interfaceFilters,
		"DescribeRegions":                        s.regionFilters(),
		"DescribeSecurityGroups":                 groupFilters,
		"DescribeSnapshots":                      snapshotFilters,
		"DescribeSubnets":                        s.subnetFilters(),
		"DescribeTags":                           tagFilters,
		"DescribeVolumeStatus":                   volumeStatusFilters,
		"DescribeVolumes":                        s.volumeFilters(),
		"DescribeVpcs":                           vpcFilters,
	}
	if t := tables[op]; t != nil {
		return t.filterNames()
	}
	return nil
}
