package dataplane

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

// field is how a part of a packet is loaded into a register, and what its values look like.
type field struct {
	set   nftables.SetDatatype
	ipv4  bool // only packets of IPv4 have it
	load  func(register uint32) expr.Any
	parse func(string) ([]byte, error)
}

// hooks are the hooks of each family (linux/netfilter.h, linux/netfilter_arp.h).
var hooks = map[nftables.TableFamily]map[string]nftables.ChainHook{
	nftables.TableFamilyINet: {"prerouting": unix.NF_INET_PRE_ROUTING, "input": unix.NF_INET_LOCAL_IN, "forward": unix.NF_INET_FORWARD},
	nftables.TableFamilyARP:  {"input": 0},
}

var families = map[string]nftables.TableFamily{"inet": nftables.TableFamilyINet, "arp": nftables.TableFamilyARP}

var fields = map[vpc.Field]field{
	vpc.InLink:      {set: nftables.TypeIFName, load: meta(expr.MetaKeyIIFNAME), parse: linkName},
	vpc.OutLink:     {set: nftables.TypeIFName, load: meta(expr.MetaKeyOIFNAME), parse: linkName},
	vpc.SourceMAC:   {set: nftables.TypeEtherAddr, load: payload(expr.PayloadBaseLLHeader, 6, 6), parse: macBytes},
	vpc.Source:      {set: nftables.TypeIPAddr, ipv4: true, load: payload(expr.PayloadBaseNetworkHeader, 12, 4), parse: addressBytes},
	vpc.Destination: {set: nftables.TypeIPAddr, ipv4: true, load: payload(expr.PayloadBaseNetworkHeader, 16, 4), parse: addressBytes},
	vpc.ARPMAC:      {set: nftables.TypeEtherAddr, load: payload(expr.PayloadBaseNetworkHeader, 8, 6), parse: macBytes},
	vpc.ARPAddress:  {set: nftables.TypeIPAddr, load: payload(expr.PayloadBaseNetworkHeader, 14, 4), parse: addressBytes},
	vpc.Protocol:    {set: nftables.TypeInetProto, load: meta(expr.MetaKeyL4PROTO), parse: protocol},
	vpc.DestPort:    {set: nftables.TypeInetService, load: payload(expr.PayloadBaseTransportHeader, 2, 2), parse: portBytes},
}

func meta(key expr.MetaKey) func(uint32) expr.Any {
	return func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }
}

func payload(base expr.PayloadBase, offset, length uint32) func(uint32) expr.Any {
	return func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: length}
	}
}

func linkName(s string) ([]byte, error) {
	if len(s) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("a link's name has at most %d bytes", unix.IFNAMSIZ-1)
	}
	return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...), nil
}

func macBytes(s string) ([]byte, error) { return net.ParseMAC(s) }

func addressBytes(s string) ([]byte, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && !a.Is4() {
		err = fmt.Errorf("not IPv4")
	}
	return a.AsSlice(), err
}

func protocol(s string) ([]byte, error) {
	switch s {
	case "tcp":
		return []byte{unix.IPPROTO_TCP}, nil
	case "udp":
		return []byte{unix.IPPROTO_UDP}, nil
	case "icmp":
		return []byte{unix.IPPROTO_ICMP}, nil
	}
	return nil, fmt.Errorf("not a protocol")
}

func portBytes(s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return binary.BigEndian.AppendUint16(nil, uint16(n)), err
}

// firstRegister is the first of the 4-byte registers, which concatenated keys fill in a row.
const firstRegister = unix.NFT_REG32_00

// compile is a rule in the kernel's terms.
func compile(r vpc.Rule, sets map[string]*nftables.Set) ([]expr.Any, error) {
	var out []expr.Any
	for _, m := range r.Match {
		part, err := compileMatch(m, r.Verdict == vpc.Lookup, sets)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	if r.Verdict == vpc.Lookup {
		return out, nil
	}
	v, err := verdict(r.Verdict)
	return append(out, v), err
}

func compileMatch(m vpc.Match, vmap bool, sets map[string]*nftables.Set) ([]expr.Any, error) {
	if len(m.Fields) == 1 && m.Fields[0] == vpc.CTState {
		return compileState(m.Value)
	}
	var out []expr.Any
	register := uint32(firstRegister)
	for _, name := range m.Fields {
		f, ok := fields[name]
		if !ok {
			return nil, fmt.Errorf("field %q is not known", name)
		}
		if f.ipv4 {
			out = append(out, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
				&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.NFPROTO_IPV4}})
		}
		if name == vpc.SourceMAC {
			out = append(out, &expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: register},
				&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)})
		}
		out = append(out, f.load(register))
		register += (f.set.Bytes + 3) / 4
	}
	if m.Set == "" {
		value, err := fields[m.Fields[0]].parse(m.Value)
		if err != nil {
			return nil, fmt.Errorf("%q is no %s: %w", m.Value, m.Fields[0], err)
		}
		return append(out, &expr.Cmp{Op: expr.CmpOpEq, Register: firstRegister, Data: value}), nil
	}
	set := sets[m.Set]
	if set == nil {
		return nil, fmt.Errorf("set %q is not known", m.Set)
	}
	look := &expr.Lookup{SourceRegister: firstRegister, SetName: set.Name, SetID: set.ID}
	if vmap && set.IsMap {
		look.DestRegister, look.IsDestRegSet = unix.NFT_REG_VERDICT, true
	}
	return append(out, look), nil
}

// compileState matches any of a list of states of connection tracking.
func compileState(list string) ([]expr.Any, error) {
	var mask uint32
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "established":
			mask |= expr.CtStateBitESTABLISHED
		case "related":
			mask |= expr.CtStateBitRELATED
		case "new":
			mask |= expr.CtStateBitNEW
		case "invalid":
			mask |= expr.CtStateBitINVALID
		default:
			return nil, fmt.Errorf("ct state %q is not known", name)
		}
	}
	return []expr.Any{
		&expr.Ct{Register: firstRegister, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: firstRegister, DestRegister: firstRegister, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: firstRegister, Data: make([]byte, 4)},
	}, nil
}

func verdict(v vpc.Verdict) (*expr.Verdict, error) {
	word, chain, _ := strings.Cut(string(v), " ")
	switch word {
	case "accept":
		return &expr.Verdict{Kind: expr.VerdictAccept}, nil
	case "drop":
		return &expr.Verdict{Kind: expr.VerdictDrop}, nil
	case "jump":
		return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}, nil
	case "goto":
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}, nil
	}
	return nil, fmt.Errorf("verdict %q is not known", v)
}
