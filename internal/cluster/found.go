package cluster

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"hive/fsm"
)

// Founding is what the first node of a cluster decides.
type Founding struct {
	Region      string
	Target      int
	IndexGroups int
	Partitions  int
	Self        fsm.Member
	TokenLife   time.Duration
	Now         time.Time
	Random      io.Reader
}

// Founded are the decisions, to be proposed as the first entry of the control group, and the
// secrets that its node keeps.
type Founded struct {
	Command   fsm.InitCluster
	Authority *Authority
	GossipKey []byte
	Token     JoinToken
}

// NewClusterID draws a cluster's id.
func NewClusterID(random io.Reader) (fsm.ClusterID, error) {
	var raw [4]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", err
	}
	return fsm.ClusterID("c-" + hex.EncodeToString(raw[:])), nil
}

// Found makes a cluster's keys and its first records. Secrets in them are sealed.
func Found(id fsm.ClusterID, f Founding, sealer Sealer) (Founded, error) {
	out := Founded{}
	var err error
	if out.Authority, err = NewAuthority(id, f.Now); err != nil {
		return out, err
	}
	if out.Token, err = NewJoinToken(id, out.Authority.Cert.Raw, f.Random); err != nil {
		return out, err
	}
	public, private, err := ed25519.GenerateKey(f.Random)
	if err != nil {
		return out, err
	}
	out.GossipKey = make([]byte, 32)
	if _, err := io.ReadFull(f.Random, out.GossipKey); err != nil {
		return out, err
	}
	settings, err := NewBundle(id, f.Target, 1, []fsm.Member{f.Self}).Sign(private)
	if err != nil {
		return out, err
	}
	record := fsm.Cluster{
		ID: id, Region: f.Region, TargetSize: f.Target, CA: out.Authority.PEM(), SigningKey: public,
		IndexGroups: f.IndexGroups, Partitions: f.Partitions, Created: f.Now.Unix(), Settings: settings,
	}
	if err := sealSecrets(&record, out, private, sealer); err != nil {
		return out, err
	}
	// The first token lets in those that the target size asks for.
	token := out.Token.Record(f.Now.Unix(), f.Now.Add(f.TokenLife).Unix(), max(f.Target-1, 1), nil)
	out.Command = fsm.InitCluster{Cluster: record, Member: f.Self, Token: token}
	return out, nil
}

func sealSecrets(record *fsm.Cluster, f Founded, signing ed25519.PrivateKey, sealer Sealer) error {
	caKey, err := f.Authority.KeyDER()
	if err != nil {
		return err
	}
	for _, s := range []struct {
		to      *[]byte
		plain   []byte
		context string
	}{
		{&record.CAKey, caKey, sealCAKey},
		{&record.SigningPrivate, signing.Seed(), sealSigning},
		{&record.GossipKey, f.GossipKey, sealGossip},
	} {
		if *s.to, err = sealer.Seal(s.plain, s.context); err != nil {
			return fmt.Errorf("seal %s: %w", s.context, err)
		}
	}
	return nil
}

// OpenAuthority is the cluster's CA, for a node that holds the seal key.
func OpenAuthority(c fsm.Cluster, sealer Sealer) (*Authority, error) {
	key, err := sealer.Open(c.CAKey, sealCAKey)
	if err != nil {
		return nil, fmt.Errorf("open the CA's key: %w", err)
	}
	return LoadAuthority(c.CA, key)
}

func openSigning(c fsm.Cluster, sealer Sealer) (ed25519.PrivateKey, error) {
	seed, err := sealer.Open(c.SigningPrivate, sealSigning)
	if err != nil {
		return nil, fmt.Errorf("open the signing key: %w", err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key of %d bytes", len(seed))
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
