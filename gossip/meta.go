package gossip

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/memberlist"
)

// Meta is what a node tells of itself, in at most 512 bytes: 1 byte version, then CBOR with integer
// keys, of which a reader passes over those that it does not know.
type Meta struct {
	Addr    string   `cbor:"1,keyasint"` // host:port of its cluster port
	Caps    []string `cbor:"2,keyasint"`
	Version string   `cbor:"3,keyasint"`
	Zone    string   `cbor:"4,keyasint"`
	Kinds   int      `cbor:"5,keyasint"`            // how many command kinds it knows
	CPUs    int      `cbor:"6,keyasint,omitempty"`  // cores
	Memory  int64    `cbor:"7,keyasint,omitempty"`  // bytes
	Disk    int64    `cbor:"8,keyasint,omitempty"`  // free bytes where its shards lie
	VCPUs   int      `cbor:"9,keyasint,omitempty"`  // virtual processors that its instances may be promised
	Guests  int64    `cbor:"10,keyasint,omitempty"` // MiB of memory that its instances may be promised
	VXLAN   int      `cbor:"11,keyasint,omitempty"` // UDP port of the networks between nodes
}

const metaVersion = 1

func (m Meta) encode() ([]byte, error) {
	body, err := cbor.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("gossip metadata: %w", err)
	}
	if len(body)+1 > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip metadata of %d bytes: at most %d; shorten the address or the zone", len(body)+1, memberlist.MetaMaxSize)
	}
	return append([]byte{metaVersion}, body...), nil
}

// decodeMeta reads metadata of this version, and of a newer one what it can: while a cluster is upgraded the
// old nodes must still find the new.
func decodeMeta(raw []byte) (Meta, error) {
	var m Meta
	if len(raw) == 0 || raw[0] < metaVersion {
		return m, fmt.Errorf("gossip metadata of %d bytes has no version", len(raw))
	}
	if err := cbor.Unmarshal(raw[1:], &m); err != nil {
		return Meta{}, fmt.Errorf("gossip metadata of version %d: %w", raw[0], err)
	}
	return m, nil
}
