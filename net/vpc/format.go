package vpc

import (
	"fmt"
	"strings"
)

// String is the state as text, one fact a line: equal states give equal text.
func (s State) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %s\n", s.Node)
	for _, x := range s.Spaces {
		x.write(&b)
	}
	return b.String()
}

func (s Space) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nspace %s cidr %s mtu %d\n", s.VPC, s.CIDR, s.MTU)
	for _, a := range s.Addresses {
		fmt.Fprintf(b, "address %s\n", a)
	}
	for _, t := range s.Taps {
		fmt.Fprintf(b, "tap %s mac %s address %s of %s %s\n", t.Name, t.MAC, t.Address, t.Interface, t.Instance)
	}
	if t := s.Tunnel; t != nil {
		fmt.Fprintf(b, "tunnel vni %d local %s port %d mac %s\n", t.VNI, t.Local.IP, t.Local.Port, t.MAC)
		for _, f := range t.Forwards {
			fmt.Fprintf(b, "forward %s to %s port %d\n", f.MAC, f.IP, f.Port)
		}
	}
	for _, r := range s.Routes {
		fmt.Fprintf(b, "route %s dev %s", r.To, r.Link)
		if r.Source.IsValid() {
			fmt.Fprintf(b, " src %s", r.Source)
		}
		b.WriteString("\n")
	}
	for _, n := range s.Neighbours {
		fmt.Fprintf(b, "neighbour %s mac %s dev %s\n", n.Address, n.MAC, n.Link)
	}
	for _, l := range s.Leases {
		fmt.Fprintf(b, "lease %s/%d to %s on %s router %s dns %s metadata %s name %s.%s mtu %d for %ds\n",
			l.Address, l.Bits, l.MAC, l.Link, l.Router, l.DNS, l.Metadata, l.Hostname, l.Domain, l.MTU, l.Seconds)
	}
	fmt.Fprintf(b, "zone %s of %s at %v\n", s.Zone.Domain, s.Zone.CIDR, s.Zone.Servers)
	for _, n := range s.Zone.Names {
		fmt.Fprintf(b, "name %s %s reverse %t\n", n.Name, n.Address, n.Reverse)
	}
	for _, r := range s.Rules {
		b.WriteString(r.String())
	}
}

// String is the ruleset in the manner of nft.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s\n", r.Family)
	for _, s := range r.Sets {
		kind := "set"
		if s.Verdicts {
			kind = "map"
		}
		fmt.Fprintf(&b, "%s %s %s\n", kind, s.Name, join(s.Key, " . "))
		for _, e := range s.Elements {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSpace(strings.Join(e.Key, " . ")+" "+string(e.Verdict)))
		}
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "chain %s", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, " hook %s priority %d drop %t", c.Hook, c.Priority, c.Drop)
		}
		b.WriteString("\n")
		for _, rule := range c.Rules {
			b.WriteString("  ")
			for _, m := range rule.Match {
				b.WriteString(m.String() + " ")
			}
			b.WriteString(string(rule.Verdict) + "\n")
		}
	}
	return b.String()
}

// String is the match in the manner of nft.
func (m Match) String() string {
	if m.Set != "" {
		return join(m.Fields, " . ") + " @" + m.Set
	}
	return join(m.Fields, " . ") + " " + m.Value
}

func join(list []Field, sep string) string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = string(f)
	}
	return strings.Join(out, sep)
}
