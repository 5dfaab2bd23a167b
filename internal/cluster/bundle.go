package cluster

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gowebpki/jcs"

	"hive/fsm"
)

// Bundle is the cluster's settings as every node believes and writes them (cluster.json). Its
// signature is ed25519 over its canonical JSON (RFC 8785) without the member "sig".
type Bundle struct {
	ClusterID  fsm.ClusterID  `json:"cluster_id"`
	TargetSize int            `json:"target_size"`
	Members    []BundleMember `json:"members"`
	Services   Services       `json:"services"`
	Tuning     Tuning         `json:"tuning,omitzero"`
	Epoch      uint64         `json:"epoch"`
	Sig        string         `json:"sig,omitempty"`
}

// BundleMember is a member as the bundle lists it.
type BundleMember struct {
	NodeID fsm.NodeID `json:"node_id"`
	Addr   string     `json:"addr"`
	Caps   []string   `json:"caps"`
}

// Services are the settings of the services.
type Services struct {
	EC2  EC2Settings  `json:"ec2"`
	S3   S3Settings   `json:"s3"`
	NATS NATSSettings `json:"nats"`
	EBS  EBSSettings  `json:"ebs"`
}

// Settings of each service. A bind is host:port; without a host it is the node's bind address.
type (
	EC2Settings struct {
		APIBind string `json:"api_bind"`
	}
	S3Settings struct {
		APIBind  string `json:"api_bind"`
		Replicas int    `json:"replicas"` // nodes that hold enough to lose all but one of them
	}
	NATSSettings struct {
		Cluster string `json:"cluster"`
		Quorum  int    `json:"quorum"`
	}
	EBSSettings struct {
		Replicas  int `json:"replicas"`   // copies of a volume's log
		BlockSize int `json:"block_size"` // bytes
	}
)

const sigPrefix = "ed25519:"

// Errors of a bundle.
var (
	ErrBadSignature = errors.New("the settings bundle's signature is wrong: it is not from this cluster, or was changed on the way")
	ErrOldEpoch     = errors.New("the settings bundle is older than the one in force")
)

// NewBundle is the unsigned bundle for a cluster of target nodes with the given members.
func NewBundle(id fsm.ClusterID, target int, epoch uint64, members []fsm.Member) Bundle {
	parity := 1
	switch {
	case target < 2:
		parity = 0
	case target >= 5:
		parity = 2
	}
	b := Bundle{
		ClusterID: id, TargetSize: target, Epoch: epoch, Members: []BundleMember{},
		Services: Services{
			EC2:  EC2Settings{APIBind: ":9001"},
			S3:   S3Settings{APIBind: ":9002", Replicas: parity + 1},
			NATS: NATSSettings{Cluster: string(id), Quorum: target/2 + 1},
			EBS:  EBSSettings{Replicas: min(target, 3), BlockSize: 4096},
		},
	}
	for _, m := range members {
		b.Members = append(b.Members, BundleMember{NodeID: m.ID, Addr: m.Addr, Caps: m.Caps})
	}
	return b
}

// Sign is the bundle's bytes with its signature: what every node writes.
func (b Bundle) Sign(key ed25519.PrivateKey) (fsm.Settings, error) {
	message, err := b.message()
	if err != nil {
		return fsm.Settings{}, err
	}
	b.Sig = sigPrefix + base64.StdEncoding.EncodeToString(ed25519.Sign(key, message))
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fsm.Settings{}, err
	}
	// Every node stops at settings that it cannot believe, so none of those must get into the log.
	if public, ok := key.Public().(ed25519.PublicKey); !ok {
		return fsm.Settings{}, ErrBadSignature
	} else if _, err := VerifyBundle(raw, public); err != nil {
		return fsm.Settings{}, fmt.Errorf("epoch %d would not be believed: %w", b.Epoch, err)
	}
	return fsm.Settings{Epoch: b.Epoch, Bundle: append(raw, '\n')}, nil
}

// message is what is signed.
func (b Bundle) message() ([]byte, error) {
	b.Sig = ""
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(raw)
}

// VerifyBundle reads a bundle and believes it only with the cluster's signature. It must hold
// nothing that the signature does not cover.
func VerifyBundle(raw []byte, key ed25519.PublicKey) (Bundle, error) {
	var b Bundle
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return Bundle{}, fmt.Errorf("settings bundle: %w", err)
	}
	if dec.More() {
		return Bundle{}, fmt.Errorf("settings bundle: more than one document: %w", ErrBadSignature)
	}
	text, ok := strings.CutPrefix(b.Sig, sigPrefix)
	sig, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return Bundle{}, ErrBadSignature
	}
	message, err := b.message()
	if err != nil {
		return Bundle{}, err
	}
	if !ed25519.Verify(key, message, sig) {
		return Bundle{}, ErrBadSignature
	}
	return b, nil
}
