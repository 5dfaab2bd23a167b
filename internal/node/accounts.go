package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hive/fsm"
	"hive/iam"
	"hive/internal/admin"
)

// handleAccounts adds what an operator can ask about accounts.
func (n *Node) handleAccounts(mux *http.ServeMux, handle func(string, func(*http.Request) (any, error))) {
	handle("GET /v1/accounts", func(r *http.Request) (any, error) { return n.listAccounts(r.Context()) })
	handle("POST /v1/accounts", n.createAccount)
	handle("GET /v1/accounts/{account}", func(r *http.Request) (any, error) {
		a, err := n.account(r.Context(), r.PathValue("account"))
		if err != nil {
			return nil, err
		}
		return n.accountRow(a.ID, true)
	})
	handle("PATCH /v1/accounts/{account}", n.changeAccount)
	handle("POST /v1/accounts/{account}/root-keys", n.createRootKey)
	handle("PUT /v1/accounts/{account}/oidc-keys", n.putProviderKeys)
	mux.HandleFunc("DELETE /v1/accounts/{account}", n.deleteAccount)
}

// account is the account of an id or a name, on a state that has every acknowledged write.
func (n *Node) account(ctx context.Context, text string) (fsm.Account, error) {
	if err := n.readIndex(ctx); err != nil {
		return fsm.Account{}, fmt.Errorf("the control group has no leader, so accounts cannot be told: %w", err)
	}
	var found []fsm.Account
	err := n.control.View(func(v *fsm.View) error {
		for _, a := range fsm.Accounts(v, "") {
			if string(a.ID) == text {
				found = []fsm.Account{a}
				return nil
			}
			if a.Name == text {
				found = append(found, a)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return fsm.Account{}, err
	case len(found) == 0:
		return fsm.Account{}, fmt.Errorf("there is no account %q: see `hive account list`", text)
	case len(found) > 1:
		return fsm.Account{}, fmt.Errorf("%d accounts have the name %q: give the id; see `hive account list`", len(found), text)
	}
	return found[0], nil
}

// accountRow is an account as operators see it; with its keys, quotas and resources when all is set.
func (n *Node) accountRow(id fsm.AccountID, all bool) (row admin.Account, err error) {
	err = n.control.View(func(v *fsm.View) error {
		a, ok := fsm.AccountOf(v, id)
		if !ok {
			return fmt.Errorf("account %s is gone", id)
		}
		row = admin.Account{ID: a.ID, Name: a.Name, Created: time.Unix(a.Created, 0).UTC(), State: "active"}
		if a.Suspended {
			row.State = "suspended"
		}
		row.Resources = fsm.AccountHolds(v, id)
		if !all {
			return nil
		}
		for _, k := range fsm.AccessKeysOf(v, id, "") {
			row.RootKeys = append(row.RootKeys, string(k.ID))
		}
		for _, q := range fsm.Quotas(v, id) {
			row.Quotas = append(row.Quotas, admin.Quota{Name: q.Name, Used: q.Used, Limit: q.Limit, Default: !q.Set})
		}
		return nil
	})
	return row, err
}

func (n *Node) listAccounts(ctx context.Context) ([]admin.Account, error) {
	if err := n.readIndex(ctx); err != nil {
		return nil, err
	}
	var ids []fsm.AccountID
	err := n.control.View(func(v *fsm.View) error {
		for _, a := range fsm.Accounts(v, "") {
			ids = append(ids, a.ID)
		}
		return nil
	})
	out := []admin.Account{}
	for _, id := range ids {
		row, rowErr := n.accountRow(id, false)
		if rowErr != nil {
			return nil, rowErr
		}
		out = append(out, row)
	}
	return out, err
}

// maxAccountName is AWS's limit, in characters.
const maxAccountName = 50

func (n *Node) createAccount(r *http.Request) (any, error) {
	var req admin.NewAccount
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	if req.Name = strings.TrimSpace(req.Name); req.Name == "" || len(req.Name) > maxAccountName || strings.ContainsFunc(req.Name, func(c rune) bool { return c < ' ' || c > '~' }) {
		return nil, fmt.Errorf("account name %q: give 1 to %d printable ASCII characters", req.Name, maxAccountName)
	}
	if err := n.readIndex(r.Context()); err != nil {
		return nil, err
	}
	taken := false
	err := n.control.View(func(v *fsm.View) error {
		for _, a := range fsm.Accounts(v, "") {
			taken = taken || a.Name == req.Name
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if taken {
		return nil, fmt.Errorf("there is an account named %q already: see `hive account list`", req.Name)
	}
	made, err := iam.Bootstrap(iam.BootstrapOptions{AccountID: req.ID, Name: req.Name, Sealer: n.box, Now: time.Now(), Rand: rand.Reader})
	if err != nil {
		return nil, err
	}
	for _, cmd := range made.Commands {
		if err := n.propose(r.Context(), cmd); err != nil {
			if errors.Is(err, fsm.ErrExists) {
				return nil, fmt.Errorf("account %s exists already: see `hive account list`", made.AccountID)
			}
			return nil, err
		}
	}
	n.log.Info("account created", "account", made.AccountID, "name", req.Name)
	return admin.RootKey{AccountID: made.AccountID, Name: req.Name, AccessKey: made.AccessKeyID, Secret: made.SecretAccessKey}, nil
}

func (n *Node) createRootKey(r *http.Request) (any, error) {
	a, err := n.account(r.Context(), r.PathValue("account"))
	if err != nil {
		return nil, err
	}
	made, err := iam.Bootstrap(iam.BootstrapOptions{AccountID: a.ID, Sealer: n.box, Now: time.Now(), Rand: rand.Reader})
	if err != nil {
		return nil, err
	}
	create, ok := made.Commands[0].(*fsm.CreateAccount)
	if !ok {
		return nil, fmt.Errorf("bootstrap has made a %T", made.Commands[0])
	}
	if err := n.propose(r.Context(), &fsm.CreateAccessKey{Key: create.RootKeys[0]}); err != nil {
		if errors.Is(err, fsm.ErrLimit) {
			return nil, fmt.Errorf("the root user of %s has %d access keys, which is all it can have: delete one with `aws iam delete-access-key`", a.ID, fsm.MaxAccessKeysPerOwner)
		}
		return nil, err
	}
	n.log.Info("root access key created", "account", a.ID, "key", made.AccessKeyID)
	return admin.RootKey{AccountID: a.ID, Name: a.Name, AccessKey: made.AccessKeyID, Secret: made.SecretAccessKey}, nil
}

func (n *Node) changeAccount(r *http.Request) (any, error) {
	a, err := n.account(r.Context(), r.PathValue("account"))
	if err != nil {
		return nil, err
	}
	var req admin.AccountChange
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	for name, limit := range req.Quotas {
		err := n.propose(r.Context(), &fsm.SetQuota{Account: a.ID, Name: name, Limit: limit})
		if errors.Is(err, fsm.ErrInvalid) {
			return nil, fmt.Errorf("quota %s=%d: give a name that `hive account quota %s` lists and a number, or -1 for the default", name, limit, a.ID)
		}
		if err != nil {
			return nil, err
		}
		n.log.Info("quota set", "account", a.ID, "quota", name, "limit", limit)
	}
	if req.Suspended != nil && *req.Suspended != a.Suspended {
		a.Suspended = *req.Suspended
		if err := n.propose(r.Context(), &fsm.UpdateAccount{Account: a}); err != nil {
			return nil, err
		}
		n.log.Info("account changed", "account", a.ID, "suspended", a.Suspended)
	}
	return n.accountRow(a.ID, true)
}

func (n *Node) putProviderKeys(r *http.Request) (any, error) {
	a, err := n.account(r.Context(), r.PathValue("account"))
	if err != nil {
		return nil, err
	}
	var req admin.ProviderKeys
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	count, err := n.who.users.RecordProviderKeys(r.Context(), a.ID, req.Provider, []byte(req.JWKS))
	if errors.Is(err, fsm.ErrNotFound) {
		return nil, fmt.Errorf("account %s has no OpenID Connect provider %q: see `aws iam list-open-id-connect-providers`", a.ID, req.Provider)
	}
	return admin.ProviderKeysTaken{Provider: req.Provider, Keys: count}, err
}
