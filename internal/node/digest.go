package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"hive/fsm"
	"hive/internal/admin"
)

// askTimeout bounds a question to one peer.
const askTimeout = 10 * time.Second

// digestOf is the digest of a group's state on one node.
func (n *Node) digestOf(ctx context.Context, id fsm.GroupID, node fsm.NodeID) admin.Digest {
	out := admin.Digest{Group: id, Node: node}
	if node == n.cfg.Node {
		return n.localDigest(ctx, out)
	}
	if err := n.getJSON(ctx, fmt.Sprintf("https://%s/digest/%s", node, id), &out); err != nil {
		out.Error = err.Error()
	}
	return out
}

func (n *Node) localDigest(ctx context.Context, out admin.Digest) admin.Digest {
	groups, err := n.chosen(out.Group)
	if err == nil {
		var sum [32]byte
		out.Index, sum, err = groups[0].Digest(ctx)
		out.Sum = hex.EncodeToString(sum[:])
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

func (n *Node) serveDigest(w http.ResponseWriter, r *http.Request) {
	out := n.localDigest(r.Context(), admin.Digest{Group: fsm.GroupID(r.PathValue("group")), Node: n.cfg.Node})
	n.answer(w, out, nil)
}

// getJSON asks a peer's internal HTTP API.
func (n *Node) getJSON(ctx context.Context, url string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := n.port.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
