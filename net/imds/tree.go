package imds

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"hive/net/vpc"
)

// tree are the leaves below a version, by path. A directory is what lies before a slash in any of them.
type tree map[string]string

// versions are the names of the interface's versions that AWS lists; all show the same tree.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
	"2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02",
	"2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24",
	"latest",
}

// treeOf is what an instance is shown. The signatures of its identity are made only when it is they that are asked for.
func (s *Server) treeOf(ctx context.Context, i Instance, below string) (tree, error) {
	t := tree{}
	md := func(name, value string) { t["meta-data/"+name] = value }
	host := hostName(i)
	md("ami-id", string(i.Image))
	md("ami-launch-index", strconv.Itoa(i.LaunchIndex))
	md("ami-manifest-path", "(unknown)")
	md("block-device-mapping/ami", i.RootDevice)
	md("block-device-mapping/root", i.RootDevice)
	for n, device := range i.Disks {
		md("block-device-mapping/ebs"+strconv.Itoa(n+1), device)
	}
	md("hostname", host)
	md("instance-action", "none")
	md("instance-id", string(i.ID))
	md("instance-life-cycle", "on-demand")
	md("instance-type", i.Type)
	md("local-hostname", host)
	md("local-ipv4", i.Address)
	md("mac", i.NIC.MAC)
	md("placement/availability-zone", i.Zone)
	if s.cfg.ZoneID != nil {
		md("placement/availability-zone-id", s.cfg.ZoneID(i.Zone))
	}
	md("placement/region", i.Region)
	md("profile", "default-hvm")
	if i.PublicKey != "" {
		md("public-keys/0/openssh-key", i.PublicKey)
	}
	md("reservation-id", i.Reservation)
	md("security-groups", groupNames(i))
	md("services/domain", "amazonaws.com")
	md("services/partition", "aws")
	if i.Metadata.Tags {
		for _, tag := range i.Tags {
			md("tags/instance/"+tag.Key, tag.Value)
		}
	}
	for name, value := range networkOf(i) {
		md("network/interfaces/macs/"+i.NIC.MAC+"/"+name, value)
	}
	if len(i.UserData) > 0 {
		t["user-data"] = string(i.UserData)
	}
	if err := s.addRole(ctx, t, i, below); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(below, "dynamic/") {
		t["dynamic/instance-identity/document"] = document(i)
		return t, nil
	}
	identity, err := s.identity(i)
	for name, value := range identity {
		t["dynamic/instance-identity/"+name] = value
	}
	return t, err
}

func networkOf(i Instance) map[string]string {
	ids := make([]string, len(i.Groups))
	for n, g := range i.Groups {
		ids[n] = string(g.ID)
	}
	return map[string]string{
		"device-number":          "0",
		"interface-id":           string(i.NIC.ID),
		"local-hostname":         hostName(i),
		"local-ipv4s":            i.Address,
		"mac":                    i.NIC.MAC,
		"owner-id":               string(i.Account),
		"security-group-ids":     strings.Join(ids, "\n"),
		"security-groups":        groupNames(i),
		"subnet-id":              string(i.Instance.Subnet),
		"subnet-ipv4-cidr-block": i.Subnet.CIDR,
		"vpc-id":                 string(i.Instance.VPC),
		"vpc-ipv4-cidr-block":    i.VPC.CIDR,
		"vpc-ipv4-cidr-blocks":   i.VPC.CIDR,
	}
}

func hostName(i Instance) string {
	return "ip-" + strings.ReplaceAll(i.Address, ".", "-") + "." + vpc.Domain(i.Region)
}

func groupNames(i Instance) string {
	names := make([]string, len(i.Groups))
	for n, g := range i.Groups {
		names[n] = g.Name
	}
	return strings.Join(names, "\n")
}

// get is the leaf at a path, or the names in a directory: one a line, directories with a slash, none after the last.
func (t tree) get(at, keyName string) (string, bool) {
	at = strings.Trim(at, "/")
	if leaf, ok := t[at]; ok {
		return leaf, true
	}
	if at == "meta-data/public-keys" && t["meta-data/public-keys/0/openssh-key"] != "" {
		return "0=" + keyName, true
	}
	names := map[string]bool{}
	for p := range t {
		rest, ok := strings.CutPrefix(p, at+"/")
		if at == "" {
			rest, ok = p, true
		}
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if deeper && at != "" { // the top's directories are shown without
			name += "/"
		}
		names[name] = true
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, "\n"), len(list) > 0
}

// split takes a request's path apart: the version, and what lies below it. ok tells whether there is such a version.
func split(p string) (version, below string, ok bool) {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	version, below, _ = strings.Cut(p, "/")
	return version, below, version == "" || slices.Contains(versions, version)
}
