package events

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"hive/events/natsd"
	"hive/fsm"
)

// keys knows the passwords of accounts: each is made from the cluster's secret and from what the account's record says,
// so that no password is stored anywhere and a rotation is a number that goes up.
type keys struct {
	realm  Realm
	secret []byte
	view   func(func(*fsm.View) error) error
}

const passwordBytes = 30 // 40 characters of base64

// generation tells the passwords of an account apart. An account that is made anew under an old id has others.
func generation(a fsm.Account) string {
	return strconv.FormatInt(a.Created, 10) + "/" + strconv.FormatUint(a.EventKeys, 10)
}

// grantOf is what an account may have now; false when it is suspended or none.
func (k *keys) grantOf(account string) (g natsd.Grant, ok bool, err error) {
	g = natsd.Grant{Account: account, Prefix: k.realm.Prefix(account)}
	if account == ClusterAccount {
		return g, true, nil
	}
	err = k.view(func(v *fsm.View) error {
		record, there := fsm.AccountOf(v, fsm.AccountID(account))
		ok = there && !record.Suspended
		g.Generation = generation(record)
		return nil
	})
	return g, ok && err == nil, err
}

// A client waits so long for a state that cannot be read, in its own goroutine of the server's.
const (
	viewTries = 20
	viewPause = 100 * time.Millisecond
)

func (k *keys) password(g natsd.Grant) (string, error) {
	info := fmt.Sprintf("hive events password\x00%s\x00%s\x00%s", k.realm.Cluster, g.Account, g.Generation)
	raw, err := hkdf.Key(sha256.New, k.secret, nil, info, passwordBytes)
	return base64.RawURLEncoding.EncodeToString(raw), err
}

// Grant is what user gets with a password. While the state is being replaced it waits: a client that is refused twice does
// not come again.
func (k *keys) Grant(user, password string) (natsd.Grant, bool) {
	g, ok, err := k.grantOf(user)
	for try := 0; err != nil && try < viewTries; try++ {
		<-time.After(viewPause)
		g, ok, err = k.grantOf(user)
	}
	want, err := k.password(g)
	same := subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
	return g, ok && err == nil && same
}

// Holds tells whether a grant is what its account would be given now. A state that cannot be read now changes nothing.
func (k *keys) Holds(g natsd.Grant) bool {
	now, ok, err := k.grantOf(g.Account)
	return err != nil || ok && now == g
}
