package vpc

import (
	"cmp"
	"slices"

	"hive/fsm"
)

// Ruleset is one table of a namespace's firewall. Later features add chains and sets to it; what the words mean is nft's
// language.
type Ruleset struct {
	Family string  // inet, arp
	Sets   []Set   // in order of name
	Chains []Chain // in the order in which they can be made: before those that jump to them
}

// Field is a part of a packet or of what is known of it.
type Field string

// Fields, in nft's words.
const (
	InLink      Field = "iifname"
	OutLink     Field = "oifname"
	SourceMAC   Field = "ether saddr"
	Source      Field = "ip saddr"
	Destination Field = "ip daddr"
	Protocol    Field = "meta l4proto" // "tcp", "udp", "icmp"
	DestPort    Field = "th dport"
	ARPMAC      Field = "arp saddr ether" // of who asks or answers
	ARPAddress  Field = "arp saddr ip"
	CTState     Field = "ct state" // "established,related"
)

// Set is a named set, or a map to verdicts, of values of its fields.
type Set struct {
	Name     string
	Key      []Field
	Verdicts bool
	Elements []Element // in order
}

// Element is one member of a set.
type Element struct {
	Key     []string // one value for each of the set's fields
	Verdict Verdict  // of a map
}

// Chain is a list of rules. One with a hook is entered by packets, one without by jumps.
type Chain struct {
	Name     string
	Hook     string // prerouting, input, forward; "" none
	Priority int
	Drop     bool // what no rule decides is dropped
	Rules    []Rule
}

// Rule is a verdict on the packets that all of Match hold for.
type Rule struct {
	Match   []Match
	Verdict Verdict
}

// Match holds when the fields' values are in the set, or, without a set, when the one field has the value.
type Match struct {
	Fields []Field
	Set    string
	Value  string
}

// Verdict is "accept", "drop", "jump CHAIN", "goto CHAIN" or, by the last match's set, "vmap".
type Verdict string

// Verdicts.
const (
	Accept Verdict = "accept"
	Drop   Verdict = "drop"
	Lookup Verdict = "vmap"
)

// Names of sets and chains that are in every namespace.
const (
	guestSet   = "guests"
	remoteSet  = "remotes"
	serverSet  = "servers"
	ingressMap = "ingress"
)

func is(f Field, value string) Match { return Match{Fields: []Field{f}, Value: value} }
func in(set string, fields ...Field) Match {
	return Match{Fields: fields, Set: set}
}
func when(verdict Verdict, match ...Match) Rule { return Rule{Match: match, Verdict: verdict} }

// rules are the firewall of a space: nobody speaks for another, guests reach the services of their namespace, and each
// other as their security groups say.
func rules(s Space, ports []port) []Ruleset {
	guests := Set{Name: guestSet, Key: []Field{InLink, SourceMAC, Source}}
	remotes := Set{Name: remoteSet, Key: []Field{Source}}
	servers := Set{Name: serverSet, Key: []Field{Destination}}
	for _, t := range s.Taps {
		guests.Elements = append(guests.Elements,
			Element{Key: []string{t.Name, t.MAC, "0.0.0.0"}}, // before it has its address: DHCP, ARP's probes
			Element{Key: []string{t.Name, t.MAC, t.Address.String()}})
	}
	for _, r := range s.Routes {
		if r.Link == tunnelLink {
			remotes.Elements = append(remotes.Elements, Element{Key: []string{r.To.Addr().String()}})
		}
	}
	for _, a := range s.Zone.Servers {
		servers.Elements = append(servers.Elements, Element{Key: []string{a.String()}})
	}
	r := Ruleset{Family: "inet", Sets: []Set{guests, remotes, servers}}
	r.addGroups(s, ports)
	r.Chains = append(r.Chains, guardChain(), inputChain(), forwardChain())
	out := []Ruleset{arpRules(guests), r}
	for _, r := range out {
		for i := range r.Sets {
			slices.SortFunc(r.Sets[i].Elements, func(a, b Element) int { return slices.Compare(a.Key, b.Key) })
		}
		slices.SortFunc(r.Sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	}
	return out
}

// arpRules let a guest ask and answer only as itself. The kernel remembers who asked, in a table that all namespaces of
// the machine share: one guest with many names could fill it.
func arpRules(guests Set) Ruleset {
	return Ruleset{
		Family: "arp",
		Sets:   []Set{{Name: guestSet, Key: []Field{InLink, ARPMAC, ARPAddress}, Elements: slices.Clone(guests.Elements)}},
		Chains: []Chain{{Name: "guard", Hook: "input", Drop: true, Rules: []Rule{
			when(Accept, in(guestSet, InLink, ARPMAC, ARPAddress)),
		}}},
	}
}

// EmptyRules is the firewall of a space without guests: it has every kind of rule and set.
func EmptyRules() []Ruleset { return rules(Space{}, nil) }

// guardChain drops what does not come from whom it says: a guest has one link, one MAC and one address, and only
// addresses of other nodes come out of the tunnel.
func guardChain() Chain {
	return Chain{Name: "guard", Hook: "prerouting", Priority: -300, Rules: []Rule{
		when(Accept, is(InLink, "lo")),
		when(Accept, in(guestSet, InLink, SourceMAC, Source)),
		when(Accept, is(InLink, tunnelLink), in(remoteSet, Source)),
		when(Drop),
	}}
}

func inputChain() Chain {
	return Chain{Name: "input", Hook: "input", Drop: true, Rules: []Rule{
		when(Accept, is(InLink, "lo")),
		when(Accept, is(CTState, "established,related")),
		when(Drop, is(InLink, tunnelLink)),
		when(Accept, is(Protocol, "udp"), is(DestPort, "67")),
		when(Accept, is(Destination, metadataAddress.String()), is(Protocol, "tcp"), is(DestPort, "80")),
		when(Accept, in(serverSet, Destination), is(Protocol, "udp"), is(DestPort, "53")),
		when(Accept, in(serverSet, Destination), is(Protocol, "tcp"), is(DestPort, "53")),
	}}
}

func forwardChain() Chain {
	return Chain{Name: "forward", Hook: "forward", Drop: true, Rules: []Rule{
		when(Accept, is(CTState, "established,related")),
		when(Drop, is(CTState, "invalid")),
		when(Drop, is(InLink, tunnelLink), is(OutLink, tunnelLink)),
		when(Accept, is(OutLink, tunnelLink)),
		when(Lookup, in(ingressMap, OutLink)),
	}}
}

// addGroups adds a chain for each security group that a guest here is in, and one for each guest that asks its groups.
// A default group lets its members in.
func (r *Ruleset) addGroups(s Space, ports []port) {
	ingress := Set{Name: ingressMap, Key: []Field{OutLink}, Verdicts: true}
	used := map[fsm.SecurityGroupID]bool{}
	var guests []Chain
	for _, t := range s.Taps {
		i := slices.IndexFunc(ports, func(p port) bool { return p.ID == t.Interface })
		groups := slices.Clone(ports[i].Groups)
		slices.Sort(groups)
		c := Chain{Name: "to-" + t.Name}
		for _, g := range slices.Compact(groups) {
			used[g] = true
			c.Rules = append(c.Rules, when(Verdict("jump in-"+string(g))))
		}
		guests = append(guests, c)
		ingress.Elements = append(ingress.Elements, Element{Key: []string{t.Name}, Verdict: Verdict("goto " + c.Name)})
	}
	for _, p := range ports {
		for _, g := range p.Groups {
			if !used[g] || slices.ContainsFunc(r.Sets, func(x Set) bool { return x.Name == "members-"+string(g) }) {
				continue
			}
			r.Sets = append(r.Sets, members(g, ports))
			r.Chains = append(r.Chains, Chain{Name: "in-" + string(g), Rules: []Rule{when(Accept, in("members-"+string(g), Source))}})
		}
	}
	r.Sets = append(r.Sets, ingress)
	slices.SortFunc(r.Chains, func(a, b Chain) int { return cmp.Compare(a.Name, b.Name) })
	r.Chains = append(r.Chains, guests...)
}

// members is the set of a group's addresses, on every node.
func members(g fsm.SecurityGroupID, ports []port) Set {
	out := Set{Name: "members-" + string(g), Key: []Field{Source}}
	for _, p := range ports {
		if p.instance.Runs() && slices.Contains(p.Groups, g) {
			out.Elements = append(out.Elements, Element{Key: []string{p.address.String()}})
		}
	}
	return out
}
