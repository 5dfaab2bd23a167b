package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

const (
	tableName = "hive"
	// elementsPerMessage keeps a message of set elements below the 64 KiB that its attribute can hold.
	elementsPerMessage = 500
	sendBuffer         = 8 << 20 // bytes: a table is sent as one transaction
)

// firewall makes the table of one namespace. Every rule carries the digest of the whole ruleset and its place, so that
// what was changed by others is seen without comparing expressions.
type firewall struct{ conn *nftables.Conn }

func bigSends(c *netlink.Conn) error { return c.SetWriteBuffer(sendBuffer) }

func openFirewall(ns netns.NsHandle) (firewall, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)), nftables.WithSockOptions(bigSends))
	return firewall{conn}, err
}

// apply makes each table as wanted.
func (f firewall) apply(want []vpc.Ruleset) error {
	for _, r := range want {
		same, err := f.matches(r)
		if err == nil && !same {
			err = f.replace(r)
		}
		if err != nil {
			return fmt.Errorf("nft table %s %s: %w", r.Family, tableName, err)
		}
	}
	return nil
}

// replace replaces a table in one transaction: no packet sees less than the one or the other.
func (f firewall) replace(want vpc.Ruleset) (err error) {
	table := &nftables.Table{Name: tableName, Family: families[want.Family]}
	f.conn.AddTable(table) // so that there is one to delete
	f.conn.DelTable(table)
	f.conn.AddTable(table)
	sets := map[string]*nftables.Set{}
	for i, s := range want.Sets {
		if sets[s.Name], err = f.addSet(table, s, uint32(i+1)); err != nil {
			return err
		}
	}
	for _, c := range want.Chains {
		f.conn.AddChain(chainOf(table, c))
	}
	for _, s := range want.Sets {
		if err := f.fill(sets[s.Name], s); err != nil {
			return err
		}
	}
	digest := digestOf(want)
	for _, c := range want.Chains {
		for i, r := range c.Rules {
			exprs, err := compile(r, sets)
			if err != nil {
				return fmt.Errorf("chain %s: rule %d: %w", c.Name, i, err)
			}
			f.conn.AddRule(&nftables.Rule{Table: table, Chain: chainOf(table, c), Exprs: exprs, UserData: mark(digest, i)})
		}
	}
	return f.conn.Flush()
}

func digestOf(want vpc.Ruleset) string {
	sum := sha256.Sum256([]byte(want.String()))
	return fmt.Sprintf("%x", sum[:8])
}

func mark(digest string, place int) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, digest+" "+strconv.Itoa(place))
}

func (f firewall) addSet(table *nftables.Table, s vpc.Set, id uint32) (*nftables.Set, error) {
	var types []nftables.SetDatatype
	for _, k := range s.Key {
		types = append(types, fields[k].set)
	}
	set := &nftables.Set{Table: table, Name: s.Name, ID: id, KeyType: types[0], IsMap: s.Verdicts}
	set.KeyByteOrder = binaryutil.BigEndian // for `nft list`, as is the other
	if types[0] == nftables.TypeIFName {
		set.KeyByteOrder = binaryutil.NativeEndian
	}
	if s.Verdicts {
		set.DataType = nftables.TypeVerdict
	}
	if len(types) > 1 {
		kind, err := nftables.ConcatSetType(types...)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		set.KeyType, set.Concatenation = kind, true
	}
	if err := f.conn.AddSet(set, nil); err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	return set, nil
}

func (f firewall) fill(set *nftables.Set, s vpc.Set) error {
	elements, err := elementsOf(s)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(elements, elementsPerMessage) {
		if err := f.conn.SetAddElements(set, part); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return nil
}

func elementsOf(s vpc.Set) ([]nftables.SetElement, error) {
	var out []nftables.SetElement
	for _, e := range s.Elements {
		var x nftables.SetElement
		for i, k := range s.Key {
			value, err := fields[k].parse(e.Key[i])
			if err != nil {
				return nil, fmt.Errorf("set %s: %q is no %s: %w", s.Name, e.Key[i], k, err)
			}
			x.Key = append(x.Key, pad(value)...)
		}
		if s.Verdicts {
			v, err := verdict(e.Verdict)
			if err != nil {
				return nil, fmt.Errorf("set %s: %w", s.Name, err)
			}
			x.VerdictData = v
		}
		out = append(out, x)
	}
	return out, nil
}

// pad fills a part of a key up to whole registers.
func pad(b []byte) []byte { return append(slices.Clone(b), make([]byte, -len(b)&3)...) }

func chainOf(table *nftables.Table, c vpc.Chain) *nftables.Chain {
	out := &nftables.Chain{Table: table, Name: c.Name}
	if hook, ok := hooks[table.Family][c.Hook]; ok {
		policy := nftables.ChainPolicyAccept
		if c.Drop {
			policy = nftables.ChainPolicyDrop
		}
		out.Type, out.Hooknum = nftables.ChainTypeFilter, nftables.ChainHookRef(hook)
		out.Priority, out.Policy = nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority)), &policy
	}
	return out
}

// matches tells whether the table in the kernel is the wanted one.
func (f firewall) matches(want vpc.Ruleset) (bool, error) {
	tables, err := f.conn.ListTablesOfFamily(families[want.Family])
	if err != nil {
		return false, fmt.Errorf("list nft tables: %w", err)
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName })
	if i < 0 {
		return false, nil
	}
	for _, check := range []func(*nftables.Table, vpc.Ruleset) (bool, error){f.sameChains, f.sameSets} {
		if same, err := check(tables[i], want); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (f firewall) sameChains(table *nftables.Table, want vpc.Ruleset) (bool, error) {
	all, err := f.conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return false, fmt.Errorf("list nft chains: %w", err)
	}
	have := map[string]*nftables.Chain{}
	for _, c := range all {
		if c.Table.Name == tableName {
			have[c.Name] = c
		}
	}
	if len(have) != len(want.Chains) {
		return false, nil
	}
	digest := digestOf(want)
	for _, c := range want.Chains {
		h, w := have[c.Name], chainOf(table, c)
		if h == nil || w.Policy != nil && (h.Policy == nil || *h.Policy != *w.Policy) {
			return false, nil
		}
		rules, err := f.conn.GetRules(table, w)
		if err != nil {
			return false, fmt.Errorf("list rules of %s: %w", c.Name, err)
		}
		if len(rules) != len(c.Rules) {
			return false, nil
		}
		for i, r := range rules {
			if !bytes.Equal(r.UserData, mark(digest, i)) {
				return false, nil
			}
		}
	}
	return true, nil
}

func (f firewall) sameSets(table *nftables.Table, want vpc.Ruleset) (bool, error) {
	for _, s := range want.Sets {
		set := &nftables.Set{Table: table, Name: s.Name, IsMap: s.Verdicts, KeyType: fields[s.Key[0]].set}
		if s.Verdicts {
			set.DataType = nftables.TypeVerdict
		}
		have, err := f.conn.GetSetElements(set)
		if err != nil {
			return false, fmt.Errorf("list set %s: %w", s.Name, err)
		}
		elements, err := elementsOf(s)
		if err != nil {
			return false, err
		}
		missing := map[string]bool{}
		for _, e := range elements {
			missing[elementText(e)] = true
		}
		for _, e := range have {
			if !missing[elementText(e)] {
				return false, nil
			}
			delete(missing, elementText(e))
		}
		if len(missing) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// elementText is an element's key, and what a map has under it.
func elementText(e nftables.SetElement) string {
	text := string(e.Key)
	if e.VerdictData == nil && len(e.Val) > 0 { // the library reads no verdicts of elements
		e.VerdictData = verdictOf(e.Val)
	}
	if e.VerdictData != nil {
		text += fmt.Sprintf(" %d %s", e.VerdictData.Kind, e.VerdictData.Chain)
	}
	return text
}

// verdictOf reads the attributes of a verdict (linux/netfilter/nf_tables.h); what it cannot read is no verdict of ours.
func verdictOf(raw []byte) *expr.Verdict {
	ad, err := netlink.NewAttributeDecoder(raw)
	if err != nil {
		return nil
	}
	ad.ByteOrder = binary.BigEndian
	var v expr.Verdict
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			v.Kind = expr.VerdictKind(int32(ad.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = ad.String()
		}
	}
	if ad.Err() != nil {
		return nil
	}
	return &v
}
