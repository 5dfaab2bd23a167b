package fsm

import (
	"slices"
	"strings"
)

// Quotas: what an account can have at most. They are counted as records come and go, so that no race passes them.
const (
	QuotaInstances        = "instances" // that are not terminated
	QuotaVCPUs            = "vcpus"     // of instances that have, or are to have, a process
	QuotaVolumes          = "volumes"
	QuotaVolumeGiB        = "volume-gib"
	QuotaSnapshots        = "snapshots"
	QuotaImages           = "images"
	QuotaKeyPairs         = "key-pairs"
	QuotaBuckets          = "buckets"
	QuotaVPCs             = "vpcs"
	QuotaSubnets          = "subnets"
	QuotaSecurityGroups   = "security-groups"
	QuotaInterfaces       = "network-interfaces"
	QuotaAddresses        = "addresses" // elastic IP addresses
	QuotaUsers            = "users"
	QuotaGroups           = "groups"
	QuotaRoles            = "roles"
	QuotaInstanceProfiles = "instance-profiles"
	QuotaPolicies         = "policies" // customer managed
)

// Quota is one limit of an account and how much of it is used.
type Quota struct {
	Name  string
	Limit int64
	Used  int64
	Set   bool // for this account; else Limit is the default
}

// defaultQuotas are in the order in which they are listed. AWS's defaults, but that a private cloud does not ration machines
// which its tenants have paid for: those are generous.
var defaultQuotas = []Quota{
	{Name: QuotaInstances, Limit: 10_000}, {Name: QuotaVCPUs, Limit: 10_000},
	{Name: QuotaVolumes, Limit: 10_000}, {Name: QuotaVolumeGiB, Limit: 512 << 10},
	{Name: QuotaSnapshots, Limit: 100_000}, {Name: QuotaImages, Limit: 50_000}, {Name: QuotaKeyPairs, Limit: 5_000},
	{Name: QuotaBuckets, Limit: 10_000}, {Name: QuotaVPCs, Limit: 100}, {Name: QuotaSubnets, Limit: 5_000},
	{Name: QuotaSecurityGroups, Limit: 2_500}, {Name: QuotaInterfaces, Limit: 20_000}, {Name: QuotaAddresses, Limit: 100},
	{Name: QuotaUsers, Limit: MaxUsersPerAccount}, {Name: QuotaGroups, Limit: 300}, {Name: QuotaRoles, Limit: 1_000},
	{Name: QuotaInstanceProfiles, Limit: 1_000}, {Name: QuotaPolicies, Limit: 1_500},
}

type (
	quota struct {
		Limit int64 `cbor:"1,keyasint"`
	}
	usage struct {
		Count int64 `cbor:"1,keyasint"`
	}
)

var (
	quotas = Table[string, quota]{Name: "quota"} // account, a zero byte, the quota's name
	usages = Table[string, usage]{Name: "usage"} // likewise
)

// UsedOf is how much of a quota an account uses.
func UsedOf(v *View, account AccountID, name string) int64 {
	u, _ := usages.Get(v, Key(string(account), name))
	return u.Count
}

// QuotaOf is the limit of an account.
func QuotaOf(v *View, account AccountID, name string) int64 {
	if q, ok := quotas.Get(v, Key(string(account), name)); ok {
		return q.Limit
	}
	q, _ := defaultQuota(name)
	return q.Limit
}

// Quotas are all limits of an account.
func Quotas(v *View, account AccountID) []Quota {
	out := make([]Quota, len(defaultQuotas))
	for i, q := range defaultQuotas {
		q.Used, q.Limit = UsedOf(v, account, q.Name), QuotaOf(v, account, q.Name)
		q.Set = quotas.Has(v, Key(string(account), q.Name))
		out[i] = q
	}
	return out
}

func defaultQuota(name string) (Quota, bool) {
	for _, q := range defaultQuotas {
		if q.Name == name {
			return q, true
		}
	}
	return Quota{}, false
}

// checkQuota refuses with ErrLimit, "quota/NAME: LIMIT", what an account cannot have besides what it has.
func checkQuota(v *View, account AccountID, name string, more int64) error {
	if limit := QuotaOf(v, account, name); more > 0 && UsedOf(v, account, name)+more > limit {
		return Errorf(ErrLimit, "quota/%s: %d", name, limit)
	}
	return nil
}

// count notes that an account uses more, or less, of a quota.
func (w *Writer) count(account AccountID, name string, by int64) {
	if by == 0 {
		return
	}
	key := Key(string(account), name)
	u, _ := usages.Get(&w.View, key)
	if u.Count += by; u.Count == 0 {
		usages.Delete(w, key)
		return
	}
	usages.Put(w, key, u)
}

// one is 1 for a record and 0 for none: what Watch counts with.
func one[V any](record *V) int64 {
	if record == nil {
		return 0
	}
	return 1
}

// either is the record that there is: the new one, or the one that is gone.
func either[V any](old, now *V) *V {
	if now != nil {
		return now
	}
	return old
}

// SetQuota gives an account a limit of its own; Limit -1 gives it the default again.
type SetQuota struct {
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`
	Limit   int64     `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *SetQuota) Kind() Kind { return 266 }

// Check refuses an account that is none (ErrNotFound), and a name or a limit that is none (ErrInvalid). A limit below what
// is used is allowed: nothing more can be had until less is.
func (c *SetQuota) Check(v *View) error {
	if !accounts.Has(v, c.Account) {
		return Errorf(ErrNotFound, "account/"+string(c.Account))
	}
	if _, ok := defaultQuota(c.Name); !ok || c.Limit < -1 {
		return Errorf(ErrInvalid, "quota/"+c.Name)
	}
	return nil
}

// Record writes the limit.
func (c *SetQuota) Record(w *Writer) {
	key := Key(string(c.Account), c.Name)
	if c.Limit < 0 {
		quotas.Delete(w, key)
		return
	}
	quotas.Put(w, key, quota{c.Limit})
}

// entityQuotas are those of IAM's entities.
var entityQuotas = []string{QuotaUsers, QuotaGroups, QuotaRoles, QuotaInstanceProfiles, QuotaPolicies}

// AccountHolds names what an account has, "3 instances", besides what every account is given.
func AccountHolds(v *View, account AccountID) []string { return holds(v, account, true) }

// holds names what an account has besides what every account is given, its default network; with the entities of IAM or
// without.
func holds(v *View, account AccountID, entities bool) []string {
	var out []string
	given := map[string]int64{}
	if id, ok := defaultVPCs.Get(v, account); ok {
		given[QuotaVPCs] = 1
		for _, s := range Subnets.Scan(v, "") {
			if s.VPC == id && s.Default {
				given[QuotaSubnets]++
			}
		}
		for _, g := range SecurityGroups.Scan(v, "") {
			if g.VPC == id && g.Name == "default" {
				given[QuotaSecurityGroups]++
			}
		}
	}
	for key, u := range usages.Scan(v, Key(string(account), "")) {
		_, name, _ := strings.Cut(key, "\x00")
		if !entities && slices.Contains(entityQuotas, name) {
			continue
		}
		if _, counts := defaultQuota(name); counts && name != QuotaVolumeGiB && name != QuotaVCPUs && u.Count > given[name] {
			out = append(out, number(u.Count-given[name])+" "+name)
		}
	}
	return out
}
