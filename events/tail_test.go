package events_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"hive/events"
	"hive/fsm"
)

// quiet is a node without the capability: it has state and no NATS.
func (r *rig) quiet() *node {
	n := r.add("n-a")
	n.start(func(c *events.Config) { c.Serve = false })
	return n
}

var errEnough = errors.New("enough")

// tail reads events until there are n.
func (r *rig) tail(b *events.Bridge, want events.Tail, n int) []events.Event {
	r.t.Helper()
	var out []events.Event
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	err := b.Follow(ctx, want, func(line []byte) error {
		var e events.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if out = append(out, e); len(out) == n {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		r.t.Fatal(err)
	}
	if n > 0 && len(out) < n {
		r.t.Fatalf("%d events, want %d", len(out), n)
	}
	return out
}

func TestATailReplaysFromAnIndexWithoutNATS(t *testing.T) {
	r := newRig(t)
	b := r.quiet().bridge
	keys := names("k", 700) // more than two pages
	r.objects(alice, keys)
	r.keyPair(bob, "pair")
	all := r.tail(b, events.Tail{Group: "index-0", Once: true}, 0)
	if len(all) != len(keys) {
		t.Fatalf("%d events, want %d", len(all), len(keys))
	}
	for i, e := range all {
		if nameOf(e) != keys[i] {
			t.Fatalf("event %d is of %s, want %s", i, nameOf(e), keys[i])
		}
	}
	from := all[400].Hive.Index
	rest := r.tail(b, events.Tail{From: from, Group: "index-0", Once: true}, 0)
	if len(rest) != 300 || rest[0].Hive.Index != from {
		t.Errorf("%d events from %d, the first at %d", len(rest), from, rest[0].Hive.Index)
	}
	if rest[0].ID != all[400].ID {
		t.Error("the id of an event is another when it is read again")
	}
	both := r.tail(b, events.Tail{Once: true}, 0)
	if !slices.ContainsFunc(both, func(e events.Event) bool { return e.Hive.Group == fsm.ControlGroup && nameOf(e) == "pair" }) {
		t.Error("the other group's events are not there")
	}
}

func TestATailFollowsWhatComes(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(http.HandlerFunc(r.quiet().bridge.ServeTail))
	t.Cleanup(server.Close)
	r.object(alice, "before")
	filter := `{"source": ["aws.s3"], "detail": {"object": {"key": [{"prefix": "wanted"}]}}}`
	bounded := http.Client{Timeout: patience}
	resp, err := bounded.Get(server.URL + "?filter=" + url.QueryEscape(filter))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	r.object(alice, "other")
	r.object(bob, "wanted 1")
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		var e events.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("wanted %d", i+1); nameOf(e) != want {
			t.Errorf("%s, want %s", nameOf(e), want)
		}
		r.object(bob, fmt.Sprintf("wanted %d", i+2))
	}
}

func TestATailTakesAGlobOnTheSubject(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(http.HandlerFunc(r.quiet().bridge.ServeTail))
	t.Cleanup(server.Close)
	r.object(alice, "a")
	r.object(bob, "b")
	resp, err := http.Get(server.URL + "?from=0&once=true&filter=" + url.QueryEscape("hive.*."+string(bob)+".s3.object-*"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	n := 0
	for ; lines.Scan(); n++ {
		if !strings.Contains(lines.Text(), `"key":"b"`) {
			t.Error(lines.Text())
		}
	}
	if n != 1 {
		t.Errorf("%d lines", n)
	}
}

func TestATailThatMakesNoSenseIsRefused(t *testing.T) {
	r := newRig(t)
	b := r.quiet().bridge
	for _, query := range []string{"from=-1", "from=x", "filter={", "filter=%7B%7D", "group=index-9"} {
		w := httptest.NewRecorder()
		b.ServeTail(w, httptest.NewRequest(http.MethodGet, "/v1/events?"+query, nil))
		var e struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &e); w.Code != http.StatusBadRequest || err != nil || e.Error == "" {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestCredentialsAreGivenByNodesWithoutTheCapability(t *testing.T) {
	r := newRig(t)
	quiet := r.quiet().bridge
	serving := r.add("n-b")
	serving.start()
	ask := func(body string) (int, events.Credentials) {
		w := httptest.NewRecorder()
		quiet.ServeCredentials(w, httptest.NewRequest(http.MethodPost, "/v1/events/credentials", strings.NewReader(body)))
		var c events.Credentials
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		return w.Code, c
	}
	code, c := ask(`{"account":"` + string(alice) + `"}`)
	if code != http.StatusOK || !slices.Contains(c.URLs, "tls://"+serving.host+":4222") || c.CA != string(r.ca.pem) ||
		c.Subject != "hive."+region+"."+string(alice)+".>" {
		t.Errorf("%d %+v", code, c)
	}
	eventually(t, "server", func() bool { return serving.bridge.Status().Server != nil })
	if _, err := r.connectAs(c.User, c.Password, serving); err != nil {
		t.Error(err)
	}
	for _, body := range []string{`{"account":"999999999999"}`, `{"account":""}`, `{`, `{"account":"cluster","rotate":true}`} {
		if code, _ := ask(body); code == http.StatusOK {
			t.Errorf("%s was answered", body)
		}
	}
}
