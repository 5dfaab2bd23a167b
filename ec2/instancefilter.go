package ec2

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

// instanceFilters are the filters of DescribeInstances; those about what no instance here has look at nothing.
// Source: DescribeInstances, Amazon EC2 API Reference.
func (s *Service) instanceFilters() filterTable[instanceRow] {
	names := map[string]func(instanceRow) []string{
		"affinity":                none[instanceRow],
		"architecture":            func(r instanceRow) []string { return one(r.Arch) },
		"availability-zone":       func(r instanceRow) []string { return one(r.Zone) },
		"availability-zone-id":    func(r instanceRow) []string { return one(s.ZoneID(r.Zone)) },
		"boot-mode":               func(r instanceRow) []string { return one(r.BootMode) },
		"capacity-reservation-id": none[instanceRow],
		"capacity-reservation-specification.capacity-reservation-preference": func(instanceRow) []string {
			return one(types.CapacityReservationPreferenceOpen)
		},
		"capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id":                 none[instanceRow],
		"capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn": none[instanceRow],
		"client-token":                   func(r instanceRow) []string { return one(r.Token) },
		"current-instance-boot-mode":     func(r instanceRow) []string { return one(r.BootMode) },
		"dns-name":                       none[instanceRow],
		"ebs-optimized":                  func(instanceRow) []string { return yesNo(false) },
		"ena-support":                    func(instanceRow) []string { return yesNo(false) },
		"enclave-options.enabled":        func(instanceRow) []string { return yesNo(false) },
		"hibernation-options.configured": func(instanceRow) []string { return yesNo(false) },
		"host-id":                        none[instanceRow],
		"hypervisor":                     func(instanceRow) []string { return one("xen") },
		"iam-instance-profile.arn": func(r instanceRow) []string {
			return ofProfile(r, func(p *fsm.InstanceProfile) string { return p.Entity().ARN() })
		},
		"iam-instance-profile.id": func(r instanceRow) []string {
			return ofProfile(r, func(p *fsm.InstanceProfile) string { return string(p.ID) })
		},
		"image-id":                          func(r instanceRow) []string { return one(r.Image) },
		"instance-id":                       func(r instanceRow) []string { return one(r.ID) },
		"instance-lifecycle":                none[instanceRow],
		"instance-state-code":               func(r instanceRow) []string { return number(stateCodes[r.State]) },
		"instance-state-name":               func(r instanceRow) []string { return one(r.State) },
		"instance-type":                     func(r instanceRow) []string { return one(r.Type) },
		"instance.group-id":                 instanceRow.groupIDs,
		"instance.group-name":               instanceRow.groupNames,
		"ip-address":                        none[instanceRow],
		"ipv6-address":                      none[instanceRow],
		"kernel-id":                         none[instanceRow],
		"key-name":                          func(r instanceRow) []string { return one(r.KeyName) },
		"launch-index":                      func(r instanceRow) []string { return number(r.LaunchIndex) },
		"launch-time":                       func(r instanceRow) []string { return moment(r.Launched) },
		"maintenance-options.auto-recovery": func(instanceRow) []string { return one("default") },
		"monitoring-state":                  func(instanceRow) []string { return one("disabled") },
		"network-performance-options.bandwidth-weighting": none[instanceRow],
		"operator.managed":            func(instanceRow) []string { return yesNo(false) },
		"operator.principal":          none[instanceRow],
		"outpost-arn":                 none[instanceRow],
		"owner-id":                    func(r instanceRow) []string { return one(r.Account) },
		"placement-group-name":        none[instanceRow],
		"placement-partition-number":  none[instanceRow],
		"platform":                    none[instanceRow],
		"platform-details":            func(instanceRow) []string { return one("Linux/UNIX") },
		"private-dns-name":            s.dnsName,
		"private-ip-address":          func(r instanceRow) []string { return r.networked(r.Address) },
		"product-code":                none[instanceRow],
		"product-code.type":           none[instanceRow],
		"ramdisk-id":                  none[instanceRow],
		"reason":                      func(r instanceRow) []string { return one(r.Transition) },
		"requester-id":                none[instanceRow],
		"reservation-id":              func(r instanceRow) []string { return one(r.Reservation) },
		"root-device-name":            func(r instanceRow) []string { return one(r.RootDevice) },
		"root-device-type":            func(instanceRow) []string { return one("ebs") },
		"source-dest-check":           func(r instanceRow) []string { return r.networked("true") },
		"spot-instance-request-id":    none[instanceRow],
		"state-reason-code":           func(r instanceRow) []string { return one(r.Reason.Code) },
		"state-reason-message":        func(r instanceRow) []string { return one(r.Reason.Message) },
		"subnet-id":                   func(r instanceRow) []string { return r.networked(string(r.Subnet)) },
		"tenancy":                     func(instanceRow) []string { return one("default") },
		"tpm-support":                 none[instanceRow],
		"usage-operation":             func(instanceRow) []string { return one("RunInstances") },
		"usage-operation-update-time": func(r instanceRow) []string { return moment(r.Created) },
		"virtualization-type":         func(instanceRow) []string { return one("hvm") },
		"vpc-id":                      func(r instanceRow) []string { return r.networked(string(r.VPC)) },
	}
	s.addMetadataFilters(names)
	s.addDeviceFilters(names)
	s.addInterfaceFilters(names)
	s.addNameFilters(names)
	return filterTable[instanceRow]{names: names, tags: func(r instanceRow) []fsm.Tag { return r.tags }}
}

// none is what a filter looks at that is about what no record has.
func none[T any](T) []string { return nil }

// networked is a value that the instance has while it has an interface.
func (r instanceRow) networked(value string) []string {
	if r.nic == nil {
		return nil
	}
	return one(value)
}

func (s *Service) dnsName(r instanceRow) []string {
	return r.networked(privateName(s.cfg.Region, r.Address))
}

func (r instanceRow) groupIDs() (out []string) {
	for _, g := range r.groups {
		out = append(out, string(g.ID))
	}
	return out
}

func (r instanceRow) groupNames() (out []string) {
	for _, g := range r.groups {
		out = append(out, g.Name)
	}
	return out
}

func (s *Service) addMetadataFilters(names map[string]func(instanceRow) []string) {
	names["metadata-options.http-endpoint"] = func(r instanceRow) []string { return one(metadataOut(r.Metadata).HttpEndpoint) }
	names["metadata-options.http-tokens"] = func(r instanceRow) []string { return one(metadataOut(r.Metadata).HttpTokens) }
	names["metadata-options.http-protocol-ipv4"] = func(r instanceRow) []string { return one(metadataOut(r.Metadata).HttpEndpoint) }
	names["metadata-options.http-protocol-ipv6"] = func(instanceRow) []string { return one("disabled") }
	names["metadata-options.http-put-response-hop-limit"] = func(r instanceRow) []string { return number(r.Metadata.HopLimit) }
	names["metadata-options.state"] = func(r instanceRow) []string { return one(metadataOut(r.Metadata).State) }
	names["metadata-options.instance-metadata-tags"] = func(r instanceRow) []string { return one(metadataOut(r.Metadata).InstanceMetadataTags) }
}

func (s *Service) addDeviceFilters(names map[string]func(instanceRow) []string) {
	each := func(value func(fsm.Volume) string) func(instanceRow) []string {
		return func(r instanceRow) (out []string) {
			for _, x := range r.volumes {
				out = append(out, value(x))
			}
			return out
		}
	}
	names["block-device-mapping.attach-time"] = func(r instanceRow) (out []string) {
		for _, x := range r.volumes {
			out = append(out, moment(x.Attachment.Time)...)
		}
		return out
	}
	names["block-device-mapping.delete-on-termination"] = each(func(x fsm.Volume) string { return strconv.FormatBool(x.Attachment.DeleteOnTermination) })
	names["block-device-mapping.device-name"] = each(func(x fsm.Volume) string { return x.Attachment.Device })
	names["block-device-mapping.status"] = each(func(x fsm.Volume) string { return x.Attachment.State })
	names["block-device-mapping.volume-id"] = each(func(x fsm.Volume) string { return string(x.ID) })
}

func (s *Service) addInterfaceFilters(names map[string]func(instanceRow) []string) {
	nic := func(name string, value func(instanceRow) []string) {
		names["network-interface."+name] = func(r instanceRow) []string {
			if r.nic == nil {
				return nil
			}
			return value(r)
		}
	}
	nic("addresses.primary", func(instanceRow) []string { return yesNo(true) })
	nic("addresses.private-ip-address", func(r instanceRow) []string { return one(r.nic.Address) })
	nic("addresses.private-dns-name", s.dnsName)
	for _, of := range []string{"allocation-id", "association-id", "carrier-ip", "customer-owned-ip", "ip-owner-id", "public-dns-name", "public-ip"} {
		nic("addresses.association."+of, none[instanceRow])
		nic("association."+of, none[instanceRow])
	}
	for _, of := range []string{"ipv4-prefixes.ipv4-prefix", "ipv6-address", "ipv6-addresses.is-primary-ipv6", "ipv6-prefixes.ipv6-prefix", "operator.principal", "outpost-arn", "public-dns-name"} {
		nic(of, none[instanceRow])
	}
	for _, is := range []string{"deny-all-igw-traffic", "ipv6-native", "operator.managed"} {
		nic(is, func(instanceRow) []string { return yesNo(false) })
	}
	nic("tag-key", func(r instanceRow) (keys []string) {
		for _, tag := range r.nicTags {
			keys = append(keys, tag.Key)
		}
		return keys
	})
	nic("tag-value", func(r instanceRow) (values []string) {
		for _, tag := range r.nicTags {
			values = append(values, tag.Value)
		}
		return values
	})
	nic("attachment.network-card-index", func(instanceRow) []string { return one("0") })
	nic("attachment.attach-time", func(r instanceRow) []string { return moment(r.nic.Created) })
	nic("attachment.attachment-id", func(r instanceRow) []string { return one(attachmentID(r.nic.ID)) })
	nic("attachment.delete-on-termination", func(instanceRow) []string { return yesNo(true) })
	nic("attachment.device-index", func(instanceRow) []string { return one("0") })
	nic("attachment.instance-id", func(r instanceRow) []string { return one(r.ID) })
	nic("attachment.instance-owner-id", func(r instanceRow) []string { return one(r.Account) })
	nic("attachment.status", func(instanceRow) []string { return one("attached") })
	nic("availability-zone", func(r instanceRow) []string { return one(r.Zone) })
	nic("description", none[instanceRow])
	nic("group-id", instanceRow.groupIDs)
	nic("group-name", instanceRow.groupNames)
	nic("ipv6-addresses.ipv6-address", none[instanceRow])
	nic("mac-address", func(r instanceRow) []string { return one(r.nic.MAC) })
	nic("network-interface-id", func(r instanceRow) []string { return one(r.nic.ID) })
	nic("owner-id", func(r instanceRow) []string { return one(r.Account) })
	nic("private-dns-name", s.dnsName)
	nic("private-ip-address", func(r instanceRow) []string { return one(r.nic.Address) })
	nic("requester-id", none[instanceRow])
	nic("requester-managed", func(instanceRow) []string { return yesNo(false) })
	nic("source-dest-check", func(instanceRow) []string { return yesNo(true) })
	nic("status", func(instanceRow) []string { return one("in-use") })
	nic("subnet-id", func(r instanceRow) []string { return one(r.Subnet) })
	nic("vpc-id", func(r instanceRow) []string { return one(r.VPC) })
}

// addNameFilters adds those about the name that an instance has in DNS while it has an interface.
func (s *Service) addNameFilters(names map[string]func(instanceRow) []string) {
	names["private-dns-name-options.hostname-type"] = func(r instanceRow) []string { return r.networked(string(types.HostnameTypeIpName)) }
	for _, record := range []string{"a", "aaaa"} {
		names["private-dns-name-options.enable-resource-name-dns-"+record+"-record"] = func(r instanceRow) []string { return r.networked("false") }
	}
}
