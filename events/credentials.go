package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"hive/fsm"
)

// Credentials let a client subscribe to an account's events, and to nothing else.
type Credentials struct {
	Account  string   `json:"account"`
	URLs     []string `json:"urls"` // of the servers, tls://host:port
	User     string   `json:"user"`
	Password string   `json:"password"`
	Subject  string   `json:"subject"` // that all its events come on
	CA       string   `json:"ca"`      // PEM that the servers are checked by
}

// CredentialsRequest asks for an account's credentials, or for new ones, which end those before.
type CredentialsRequest struct {
	Account string `json:"account"` // 12 digits, or ClusterAccount for what is the cluster's own
	Rotate  bool   `json:"rotate,omitempty"`
}

// Errors of Credentials.
var (
	ErrNoAccount = errors.New("there is no such account")
	ErrSuspended = errors.New("the account is suspended: it gets no events until it is resumed")
	ErrExternal  = errors.New("events go to a NATS server that is not Hive's: whoever runs it says who may read them there")
	ErrNoServer  = errors.New("no node of the cluster has the capability nats")
	ErrRotate    = errors.New("credentials for the cluster's own events cannot be rotated")
)

// Credentials are those of an account, made from the cluster's secret: any node gives the same.
func (b *Bridge) Credentials(ctx context.Context, req CredentialsRequest) (Credentials, error) {
	if b.cfg.External() != "" {
		return Credentials{}, ErrExternal
	}
	var urls []string
	for _, n := range b.cfg.Nodes() {
		if n.Serves && n.Clients != "" {
			urls = append(urls, "tls://"+n.Clients)
		}
	}
	if len(urls) == 0 {
		return Credentials{}, ErrNoServer
	}
	if req.Rotate {
		if err := b.rotate(ctx, req.Account); err != nil {
			return Credentials{}, err
		}
	}
	if err := b.checkAccount(req.Account); err != nil {
		return Credentials{}, err
	}
	grant, ok, err := b.keys.grantOf(req.Account)
	if err == nil && !ok {
		err = ErrSuspended // since a moment ago
	}
	if err != nil {
		return Credentials{}, err
	}
	password, err := b.keys.password(grant)
	slices.Sort(urls)
	return Credentials{
		Account: req.Account, URLs: urls, User: req.Account, Password: password, Subject: grant.Prefix + ".>", CA: string(b.cfg.CA),
	}, err
}

func (b *Bridge) accountOf(id string) (record fsm.Account, err error) {
	err = b.cfg.Groups[0].View(func(v *fsm.View) error {
		var there bool
		if record, there = fsm.AccountOf(v, fsm.AccountID(id)); !there {
			return fmt.Errorf("%q: %w", id, ErrNoAccount)
		}
		return nil
	})
	return record, err
}

func (b *Bridge) checkAccount(id string) error {
	if id == ClusterAccount {
		return nil
	}
	record, err := b.accountOf(id)
	if err == nil && record.Suspended {
		err = fmt.Errorf("%s: %w", id, ErrSuspended)
	}
	return err
}

// rotate counts an account's credentials up. When the record was changed by another it reads it again.
func (b *Bridge) rotate(ctx context.Context, id string) error {
	if id == ClusterAccount {
		return ErrRotate
	}
	for {
		record, err := b.accountOf(id)
		if err != nil {
			return err
		}
		record.EventKeys++
		err = b.cfg.Propose(ctx, &fsm.UpdateAccount{Account: record})
		if !errors.Is(err, fsm.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// ServeCredentials answers POST with a CredentialsRequest.
func (b *Bridge) ServeCredentials(w http.ResponseWriter, r *http.Request) {
	var req CredentialsRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	out, err := b.Credentials(r.Context(), req)
	if err != nil {
		refuse(w, http.StatusConflict, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		b.cfg.Log.Debug("events credentials", "err", err)
	}
}

const maxRequest = 64 << 10
