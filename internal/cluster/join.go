package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"hive/fsm"
)

// JoinPath is where a member answers joiners; it needs no client certificate.
const JoinPath = "/join"

// Announcement is what a node says of itself when it joins.
type Announcement struct {
	ClusterID fsm.ClusterID `json:"cluster_id"`
	NodeID    fsm.NodeID    `json:"node_id"`
	Addr      string        `json:"addr"` // host:port of its cluster port
	Version   string        `json:"version"`
	Caps      []string      `json:"caps"`
	TS        int64         `json:"ts"` // Unix seconds
}

// JoinRequest is POST /join: the announcement, and what proves and equips the joiner.
type JoinRequest struct {
	Announcement
	Region    string   `json:"region"`
	Zone      string   `json:"az"`
	Gossip    string   `json:"gossip"`     // host:port of its gossip port
	Names     []string `json:"names"`      // host names and addresses for its certificate
	Secret    []byte   `json:"secret"`     // of the join token
	PublicKey []byte   `json:"public_key"` // SPKI, DER
}

// JoinAnswer equips a new member.
type JoinAnswer struct {
	Cert        []byte   `json:"cert"` // PEM
	CA          []byte   `json:"ca"`   // PEM
	SigningKey  []byte   `json:"signing_key"`
	Bundle      string   `json:"bundle"` // the exact bytes of cluster.json
	SealKey     []byte   `json:"seal_key"`
	GossipKey   []byte   `json:"gossip_key"`
	IndexGroups int      `json:"index_groups"`
	Seeds       []string `json:"seeds"` // gossip addresses of the members
}

func hash256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// refusal is the body of an answer that is not 200.
type refusal struct {
	Error string `json:"error"`
}

// ErrRefused is a join that the cluster did not accept; its text says why.
var ErrRefused = errors.New("join refused")

// errNotFounded is the first node's answer while it is still on its way: its tokens come with the founding.
var errNotFounded = errors.New("it is being founded")

const maxJoinBody = 64 << 10

// Door answers joiners on a member.
type Door struct {
	Registry *Registry
	Sealer   Sealer
	SealKey  []byte
}

// ServeHTTP is POST /join.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req JoinRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoinBody)).Decode(&req); err != nil {
		answerJSON(w, http.StatusBadRequest, refusal{"the request is not a join request: " + err.Error()})
		return
	}
	answer, err := d.join(r.Context(), req)
	switch {
	case err == nil:
		answerJSON(w, http.StatusOK, answer)
	case errors.Is(err, ErrRefused):
		answerJSON(w, http.StatusForbidden, refusal{err.Error()})
	default:
		// The joiner asks again.
		answerJSON(w, http.StatusServiceUnavailable, refusal{"the cluster cannot take a member at the moment: " + err.Error()})
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The connection is all that can fail here, and the other end sees that itself.
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// join checks everything before it changes anything.
func (d *Door) join(ctx context.Context, req JoinRequest) (JoinAnswer, error) {
	reg := d.Registry
	if err := reg.Group.ReadIndex(ctx); err != nil {
		return JoinAnswer{}, err
	}
	var c fsm.Cluster
	var known bool
	token := JoinToken{}
	copy(token.Secret[:], req.Secret)
	member := fsm.Member{
		ID: req.NodeID, Addr: req.Addr, Gossip: req.Gossip, Zone: req.Zone, Caps: req.Caps,
		Version: req.Version, Joined: reg.Clock().Unix(), KeyHash: hash256(req.PublicKey),
	}
	err := reg.Group.View(func(v *fsm.View) error {
		var founded bool
		if c, founded = fsm.TheCluster(v); !founded {
			return errNotFounded
		}
		var err error
		known, err = d.check(v, c, req, token, member)
		return err
	})
	if err != nil {
		return JoinAnswer{}, err
	}
	if !known {
		if err := reg.admit(ctx, member, token.ID()); err != nil {
			return JoinAnswer{}, admitRefusal(err, req.NodeID)
		}
	}
	return d.equip(req)
}

func admitRefusal(err error, node fsm.NodeID) error {
	var e *fsm.Error
	switch {
	case errors.Is(err, fsm.ErrExists):
		return refuse("the node name of %s is taken: choose another with --node, or remove the old node with `hive node remove %s`", node, node)
	case errors.Is(err, fsm.ErrDenied) && errors.As(err, &e):
		return refuse("%s: make another with `hive token create`", e.Resource)
	default:
		return err
	}
}

// check refuses what cannot join. Known is true for a node that was admitted before and asks
// again with the same key: an interrupted join is resumed.
func (d *Door) check(v *fsm.View, c fsm.Cluster, req JoinRequest, token JoinToken, m fsm.Member) (known bool, err error) {
	now := d.Registry.Clock()
	record, ok := fsm.Tokens.Get(v, token.ID())
	if !ok || len(req.Secret) != secretSize || !bytes.Equal(record.Hash, token.Hash()) {
		return false, refuse("the join token is wrong: make one with `hive token create`")
	}
	if req.ClusterID != c.ID {
		return false, refuse("this is cluster %s, the token is for %s", c.ID, req.ClusterID)
	}
	if req.Region != c.Region {
		return false, refuse("this cluster's region is %s, not %s: join with --region %s", c.Region, req.Region, c.Region)
	}
	if skew := now.Sub(time.Unix(req.TS, 0)); skew.Abs() > MaxClockSkew {
		return false, refuse("the node's clock is %s off: at most %s is allowed; set it (NTP) and join again", skew.Abs().Round(time.Second), MaxClockSkew)
	}
	if err := checkAnnouncement(req); err != nil {
		return false, refuse("%v", err)
	}
	if have, ok := fsm.Members.Get(v, req.NodeID); ok {
		if bytes.Equal(have.KeyHash, m.KeyHash) && !record.Revoked {
			return true, nil
		}
		return false, admitRefusal(fsm.Errorf(fsm.ErrExists, string(req.NodeID)), req.NodeID)
	}
	if state := record.State(now.Unix()); state != fsm.TokenValid {
		return false, refuse("the join token is %s: make another with `hive token create`", state)
	}
	if extra := record.Forbids(req.Caps); extra != "" {
		return false, refuse("the join token does not permit the capability %s", extra)
	}
	return false, nil
}

func checkAnnouncement(req JoinRequest) error {
	if len(req.NodeID) < 3 {
		return fmt.Errorf("%w: node id %q", ErrBadInput, req.NodeID)
	}
	if id, err := NodeID(string(req.NodeID[2:])); err != nil || id != req.NodeID {
		return fmt.Errorf("%w: node id %q", ErrBadInput, req.NodeID)
	}
	if err := CheckPlace(req.Region, req.Zone); err != nil {
		return err
	}
	if _, err := CheckCaps(req.Caps); err != nil {
		return err
	}
	for _, addr := range []string{req.Addr, req.Gossip} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%w: address %q: %w", ErrBadInput, addr, err)
		}
	}
	if _, err := x509.ParsePKIXPublicKey(req.PublicKey); err != nil {
		return fmt.Errorf("%w: public key: %w", ErrBadInput, err)
	}
	return nil
}

// equip makes the answer for a node that is a member now.
func (d *Door) equip(req JoinRequest) (JoinAnswer, error) {
	var out JoinAnswer
	err := d.Registry.Group.View(func(v *fsm.View) error {
		c, _ := fsm.TheCluster(v)
		authority, err := OpenAuthority(c, d.Sealer)
		if err != nil {
			return err
		}
		gossipKey, err := d.Sealer.Open(c.GossipKey, sealGossip)
		if err != nil {
			return err
		}
		pub, err := x509.ParsePKIXPublicKey(req.PublicKey)
		if err != nil {
			return err
		}
		cert, err := authority.Issue(req.NodeID, pub, CertNames(req.NodeID, req.Names...), d.Registry.Clock())
		if err != nil {
			return err
		}
		out = JoinAnswer{
			Cert: cert, CA: c.CA, SigningKey: c.SigningKey, Bundle: string(c.Settings.Bundle),
			SealKey: d.SealKey, GossipKey: gossipKey, IndexGroups: c.IndexGroups,
		}
		for _, m := range membersOf(v) {
			if m.ID != req.NodeID {
				out.Seeds = append(out.Seeds, m.Gossip)
			}
		}
		return nil
	})
	return out, err
}

// Ask joins through the member at addr (host:port). The token's pin is checked before anything
// secret is said; the bundle in the answer is verified before it is believed.
func Ask(ctx context.Context, addr string, token JoinToken, req JoinRequest) (JoinAnswer, Bundle, error) {
	req.ClusterID, req.Secret = token.Cluster, token.Secret[:]
	body, err := json.Marshal(req)
	if err != nil {
		return JoinAnswer{}, Bundle{}, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: pinnedTLS(token)}}
	defer client.CloseIdleConnections()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+JoinPath, bytes.NewReader(body))
	if err != nil {
		return JoinAnswer{}, Bundle{}, err
	}
	resp, err := client.Do(post)
	if err != nil {
		return JoinAnswer{}, Bundle{}, fmt.Errorf("join through %s: %w", addr, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return JoinAnswer{}, Bundle{}, fmt.Errorf("join through %s: %w", addr, err)
	}
	return believeAnswer(resp.StatusCode, raw, token)
}

func believeAnswer(status int, raw []byte, token JoinToken) (JoinAnswer, Bundle, error) {
	var answer JoinAnswer
	if status != http.StatusOK {
		var no refusal
		if err := json.Unmarshal(raw, &no); err != nil || no.Error == "" {
			return answer, Bundle{}, fmt.Errorf("join: the member answered with status %d", status)
		}
		if status == http.StatusForbidden {
			return answer, Bundle{}, refusedBy(no.Error)
		}
		return answer, Bundle{}, errors.New(no.Error)
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return answer, Bundle{}, fmt.Errorf("join: %w", err)
	}
	ca, err := ParseCert(answer.CA)
	if err != nil {
		return answer, Bundle{}, err
	}
	if !token.PinMatches(ca.Raw) {
		return answer, Bundle{}, errPin
	}
	b, err := VerifyBundle([]byte(answer.Bundle), answer.SigningKey)
	if err == nil && b.ClusterID != token.Cluster {
		err = ErrBadSignature
	}
	return answer, b, err
}

// Temporary tells whether asking again can help: the member was not reached, or its cluster has
// no leader at the moment.
func Temporary(err error) bool {
	return !errors.Is(err, ErrRefused) && !errors.Is(err, errPin) && !errors.Is(err, ErrBadSignature) && !errors.Is(err, ErrBadInput)
}

var errPin = errors.New("the machine that answered is not of the token's cluster (its CA is another): check --host, or make a new token")

func refusedBy(text string) error {
	prefix := ErrRefused.Error() + ": "
	if len(text) > len(prefix) && text[:len(prefix)] == prefix {
		text = text[len(prefix):]
	}
	return fmt.Errorf("%w: %s", ErrRefused, text)
}

func pinnedTLS(token JoinToken) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares with the token's pin
		VerifyConnection: func(state tls.ConnectionState) error {
			roots := x509.NewCertPool()
			for _, c := range state.PeerCertificates {
				if token.PinMatches(c.Raw) {
					roots.AddCert(c)
				}
			}
			if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots}); err != nil {
				return errPin
			}
			return nil
		},
	}
}
