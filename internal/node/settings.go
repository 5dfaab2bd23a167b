package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

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
		if b.Tuning.NATSURL, err = n.shownURL(b.Tuning.NATSURL); err != nil {
			return err
		}
		for _, s := range b.Tuning.Settings() {
			out.Values = append(out.Values, admin.Setting{Key: s[0], Value: s[1]})
		}
		return nil
	})
	return out, err
}

// The settings lie in Raft's log, in snapshots and in cluster.json: a URL that has a password or a token is sealed in them.
const (
	sealedURL    = "sealed:"
	sealedURLFor = "setting/nats.url"
)

// sealURL is a URL as the settings may hold it.
func (n *Node) sealURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text, err
	}
	sealed, err := n.box.Seal([]byte(text), sealedURLFor)
	return sealedURL + base64.RawURLEncoding.EncodeToString(sealed), err
}

// openURL is a URL that sealURL has made ready.
func (n *Node) openURL(kept string) (string, error) {
	text, sealed := strings.CutPrefix(kept, sealedURL)
	if !sealed {
		return kept, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("setting nats.url: %w", err)
	}
	plain, err := n.box.Open(raw, sealedURLFor)
	if err != nil {
		return "", fmt.Errorf("setting nats.url: %w", err)
	}
	return string(plain), nil
}

// shownURL is a kept URL without what is secret in it.
func (n *Node) shownURL(kept string) (string, error) {
	text, err := n.openURL(kept)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text, err
	}
	if _, named := u.User.Password(); !named {
		u.User = url.User("xxxxx") // a token
	}
	return u.Redacted(), nil
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
		var err error
		t.NATSURL, err = n.sealURL(t.NATSURL)
		return err
	})
	if err != nil {
		return nil, err
	}
	n.log.Info("settings changed", "keys", len(req.Values))
	return n.settings(r.Context())
}
