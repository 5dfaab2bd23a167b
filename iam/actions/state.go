package actions

import (
	"strings"

	"hive/fsm"
)

// finders find records by what a resource type's file calls state. Those of EC2 are in stateec2.go.
var finders = map[string]finder{
	"user":               {name: findUser, arn: userByARN},
	"group":              {name: findGroup},
	"role":               {name: findRole, arn: roleByARN},
	"instance-profile":   {name: findProfile, arn: profileByARN},
	"policy":             {arn: policyByARN},
	"mfa":                {arn: mfaByARN},
	"oidc-provider":      {arn: oidcByARN},
	"saml-provider":      {arn: samlByARN},
	"server-certificate": {name: findCertificate},
	"principal":          {arn: principalByARN},
	"bucket":             {name: findBucket},

	"tags":           {name: findTags},
	"instance":       {name: findInstance},
	"volume":         {name: findVolume},
	"snapshot":       {name: findSnapshot},
	"image":          {name: findImage},
	"key-pair":       {name: findKeyPair},
	"vpc":            {name: findVPC},
	"subnet":         {name: findSubnet},
	"security-group": {name: findGroupOfVPC},
	"interface":      {name: findInterface},
	"import":         {name: findImport},
}

func recordOfUser(u fsm.User) record {
	return record{path: u.Path, name: u.Name, tags: u.Tags, boundary: u.Boundary}
}

func recordOfRole(r fsm.Role) record {
	return record{path: r.Path, name: r.Name, tags: r.Tags, boundary: r.Boundary}
}

func findUser(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	u, ok := fsm.UserByName(v, owner, name)
	return recordOfUser(u), ok
}

func userByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	u, ok := fsm.UserByName(v, owner, lastOf(arn))
	if !ok || u.ARN() != arn {
		return record{}, false
	}
	return recordOfUser(u), true
}

// lastOf is the name in an ARN of IAM: what follows the path.
func lastOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func findGroup(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	g, ok := fsm.IAMGroupByName(v, owner, name)
	return record{path: g.Path, name: g.Name}, ok
}

func findRole(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	r, ok := fsm.RoleByName(v, owner, name)
	return recordOfRole(r), ok
}

func roleByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	r, ok := fsm.RoleByARN(v, accountIn(arn, owner), arn)
	return recordOfRole(r), ok
}

// accountIn is the account that an ARN names: the role that is to be assumed may be another's.
func accountIn(arn string, owner fsm.AccountID) fsm.AccountID {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[4] != "" {
		return fsm.AccountID(parts[4])
	}
	return owner
}

func findProfile(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	p, ok := fsm.InstanceProfileByName(v, owner, name)
	return record{path: p.Path, name: p.Name, tags: p.Tags}, ok
}

func profileByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	p, ok := fsm.InstanceProfileByARN(v, owner, arn)
	return record{path: p.Path, name: p.Name, tags: p.Tags}, ok
}

func policyByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	p, ok := fsm.ManagedPolicyByARN(v, owner, arn)
	return record{path: p.Path, name: p.Name, tags: p.Tags}, ok
}

func mfaByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	d, ok := fsm.MFADeviceBySerial(v, owner, arn)
	return record{path: d.Path, name: d.Name, tags: d.Tags}, ok
}

func oidcByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	p, ok := fsm.OIDCProviderByARN(v, owner, arn)
	return record{tags: p.Tags}, ok
}

func samlByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	p, ok := fsm.SAMLProviderByARN(v, owner, arn)
	return record{name: p.Name, tags: p.Tags}, ok
}

func findCertificate(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	c, ok := fsm.ServerCertificateByName(v, owner, name)
	return record{path: c.Path, name: c.Name, tags: c.Tags}, ok
}

// principalByARN finds what simulations are about: a user, a group or a role.
func principalByARN(v *fsm.View, owner fsm.AccountID, arn string) (record, bool) {
	if r, ok := userByARN(v, owner, arn); ok && strings.Contains(arn, ":user/") {
		return r, true
	}
	return roleByARN(v, owner, arn)
}

// findBucket finds whose a bucket is: its ARN does not tell.
func findBucket(v *fsm.View, _ fsm.AccountID, name string) (record, bool) {
	b, ok := fsm.Buckets.Get(v, fsm.BucketName(name))
	if !ok {
		return record{}, false
	}
	return record{facts: []fact{{"aws:resourceaccount", string(b.Owner)}, {"s3:resourceaccount", string(b.Owner)}}}, true
}
