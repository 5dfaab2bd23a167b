package cluster

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hive/fsm"
)

// Tuning are the settings that an operator changes while the cluster runs. The zero Tuning is what a new cluster has.
type Tuning struct {
	// Throttle limits calls of each account by action, "ec2:RunInstances", "ec2:*" or "*"; the most exact entry counts.
	Throttle map[string]Rate `json:"throttle,omitempty"`
	// AuditDays is how long audit events are kept, AuditKeep how many of an account; 0 is the default.
	AuditDays int   `json:"audit_days,omitempty"`
	AuditKeep int64 `json:"audit_keep,omitempty"`
	// NATSURL is of a NATS outside of the cluster that gets the events instead of the cluster's own.
	NATSURL string `json:"nats_url,omitempty"`
}

// Rate is a token bucket: calls per second, and how many at once.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
}

// Limit is the rate of an action of a service; false when it has none.
func (t Tuning) Limit(service, op string) (Rate, bool) {
	for _, key := range [...]string{service + ":" + op, service + ":*", "*"} {
		if r, ok := t.Throttle[key]; ok {
			return r, true
		}
	}
	return Rate{}, false
}

// Settings are the keys of Tuning as an operator writes them, with their values; "" is the default.
func (t Tuning) Settings() [][2]string {
	out := [][2]string{{"audit.days", number(int64(t.AuditDays))}, {"audit.keep", number(t.AuditKeep)}, {"nats.url", t.NATSURL}}
	for _, action := range slices.Sorted(maps.Keys(t.Throttle)) {
		r := t.Throttle[action]
		out = append(out, [2]string{"throttle." + action, strconv.FormatFloat(r.PerSecond, 'g', -1, 64) + "/" + strconv.Itoa(r.Burst)})
	}
	return out
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Set changes one setting; an empty value is the default. Errors: ErrBadInput.
func (t *Tuning) Set(key, value string) error {
	bad := func(want string) error { return fmt.Errorf("%w: %s=%s: give %s", ErrBadInput, key, value, want) }
	n, err := strconv.ParseInt(cmp.Or(value, "0"), 10, 64)
	isNumber := err == nil && n >= 0
	if action, ok := strings.CutPrefix(key, "throttle."); ok {
		return t.setThrottle(action, value, bad)
	}
	switch key {
	case "audit.days":
		if !isNumber || n > 3650 {
			return bad("days from 1 to 3650")
		}
		t.AuditDays = int(n)
	case "audit.keep":
		if !isNumber || n > 10_000_000 {
			return bad("a number of events from 1 to 10000000")
		}
		t.AuditKeep = n
	case "nats.url":
		u, err := url.Parse(value)
		if value != "" && (err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls"}, u.Scheme)) {
			return bad("nats://HOST:PORT or tls://HOST:PORT, with USER:PASSWORD@ when it asks for one")
		}
		t.NATSURL = value
	default:
		return fmt.Errorf("%w: there is no setting %q: audit.days, audit.keep, nats.url, throttle.ACTION", ErrBadInput, key)
	}
	return nil
}

func (t *Tuning) setThrottle(action, value string, bad func(string) error) error {
	t.Throttle = maps.Clone(t.Throttle)
	if value == "" {
		if delete(t.Throttle, action); len(t.Throttle) == 0 {
			t.Throttle = nil // as it is read again
		}
		return nil
	}
	service, op, _ := strings.Cut(action, ":")
	if action != "*" && (service == "" || op == "") {
		return bad("an action such as throttle.ec2:RunInstances, throttle.ec2:* or throttle.*")
	}
	rate, burst, _ := strings.Cut(value, "/")
	perSecond, err := strconv.ParseFloat(rate, 64)
	n, err2 := strconv.Atoi(cmp.Or(burst, "1"))
	if err != nil || err2 != nil || !(perSecond > 0) || perSecond > 1e6 || n < 1 || n > 1e6 {
		return bad("CALLS-PER-SECOND/BURST, such as 5/20")
	}
	if t.Throttle == nil {
		t.Throttle = map[string]Rate{}
	}
	t.Throttle[action] = Rate{perSecond, n}
	return nil
}

// Tune changes settings under the next epoch.
func (r *Registry) Tune(ctx context.Context, edit func(*Tuning) error) error {
	for {
		var cmd *fsm.ChangeSettings
		err := r.Group.View(func(v *fsm.View) error {
			c, ok := fsm.TheCluster(v)
			if !ok {
				return errors.New("this node does not know its cluster yet: wait for it to catch up")
			}
			b, err := VerifyBundle(c.Settings.Bundle, c.SigningKey)
			if err != nil {
				return err
			}
			if err := edit(&b.Tuning); err != nil {
				return err
			}
			b.Epoch++
			var key ed25519.PrivateKey
			if key, err = openSigning(c, r.Sealer); err != nil {
				return err
			}
			settings, err := b.Sign(key)
			cmd = &fsm.ChangeSettings{Settings: settings}
			return err
		})
		if err != nil {
			return err
		}
		if err = r.Group.Propose(ctx, cmd); !errors.Is(err, fsm.ErrConflict) {
			return err
		}
		if err := r.Group.ReadIndex(ctx); err != nil {
			return err
		}
	}
}
