package node

import (
	"context"
	"encoding/json"
	"net/http"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/cluster"
)

// settings are those in force, on a state that has every acknowledged write.
func (n *Node) settings(ctx context.Context) (admin.Settings, error) {
	if err := n.readIndex(ctx); err != nil {
		return admin.Settings{}, err
	}
	out := admin.Settings{Values: []admin.Setting{}}
	err := n.control.View(func(v *fsm.View) error {
		c, _ := fsm.TheCluster(v)
		b, err := cluster.VerifyBundle(c.Settings.Bundle, c.SigningKey)
		if err != nil {
			return err
		}
		out.Epoch = b.Epoch
		for _, s := range b.Tuning.Settings() {
			out.Values = append(out.Values, admin.Setting{Key: s[0], Value: s[1]})
		}
		return nil
	})
	return out, err
}

func (n *Node) changeSettings(r *http.Request) (any, error) {
	var req admin.Settings
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposePatience)
	defer cancel()
	err := n.registry.Tune(ctx, func(t *cluster.Tuning) error {
		for _, s := range req.Values {
			if err := t.Set(s.Key, s.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.log.Info("settings changed", "keys", len(req.Values))
	return n.settings(r.Context())
}
