package raftnode

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/raft"

	"hive/fsm"
)

func TestAnswersOfMembershipKeepTheirCauseOverTheWire(t *testing.T) {
	for _, cause := range []error{ErrQuorum, ErrStale, ErrNotMember, ErrUnknownOutcome, errNotLeader} {
		raw, err := cbor.Marshal(respond(errors.Join(cause, errors.New("because"))))
		if err != nil {
			t.Fatal(err)
		}
		var got membershipResponse
		if err := wire.Unmarshal(raw, &got); err != nil || !errors.Is(got.err(), cause) || !strings.Contains(got.err().Error(), "because") {
			t.Errorf("%v became %v, %v", cause, got.err(), err)
		}
	}
	if err := respond(nil).err(); err != nil {
		t.Error(err)
	}
	if err := (membershipResponse{Cause: 77, Message: "of a newer version"}).err(); err == nil {
		t.Error("an unknown cause is no error")
	}
}

func TestHandlerRefusesWhatIsNotARequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, alone)
	m := r.form(1)[0]
	r.leader(testContext(t, 10*time.Second))
	h := m.Handler()
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/raft/index-0/status", "", http.StatusNotFound},
		{"POST", "/raft/index-0/", "", http.StatusNotFound},
		{"POST", "/raft/index-0/nothing", "", http.StatusNotFound},
		{"POST", "/raft/control/status", "", http.StatusNotFound},
		{"POST", "/raft/index-0/propose", "not cbor", http.StatusBadRequest},
		{"POST", "/propose", "\xa2\x01\x01\x02\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", http.StatusBadRequest},
		{"POST", "/raft/index-0/membership", "", http.StatusBadRequest},
		{"POST", "/raft/index-0/status", "", http.StatusOK},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.status {
			t.Errorf("%s %s %q: %d", c.method, c.path, c.body, w.Code)
		}
	}
	w := httptest.NewRecorder()
	endless := io.LimitReader(zeros{}, 64<<20)
	h.ServeHTTP(w, httptest.NewRequest("POST", "/raft/index-0/propose", endless))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("64 MiB: %d", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestRandomBytesFromAPeerStopNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	for i := range 64 {
		conn, err := r.net.dial(ctx, "n-1", "n-2", "raw")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(append([]byte{byte(i % 8)}, bytes.Repeat([]byte{byte(i * 37), 0xc1, 0xdf}, 40)...)); err != nil {
			t.Log(err)
		}
		conn.Close()
	}
	if err := nodes[1].Propose(ctx, set("b", 1)); err != nil {
		t.Fatal(err)
	}
	r.compare()
}

func FuzzRequests(f *testing.F) {
	raw, err := cbor.Marshal(proposeRequest{Term: 3, Items: []wireProposal{{Run: 1, Number: 2, Entry: []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(encodeTag(proposalID{1, 2}, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p proposeRequest
		if err := wire.Unmarshal(raw, &p); err == nil && len(p.Items) > len(raw) {
			t.Errorf("%d items from %d bytes", len(p.Items), len(raw))
		}
		var m membershipRequest
		var v proposeResponse
		var s Status
		for _, to := range []any{&m, &v, &s} {
			if err := wire.Unmarshal(raw, to); err == nil && len(raw) == 0 {
				t.Error("nothing was decoded")
			}
		}
		if id, term, err := decodeTag(raw); err == nil && !bytes.Equal(encodeTag(id, term), raw) {
			t.Errorf("tag %x", raw)
		} else if err != nil && !errors.Is(err, fsm.ErrUnknownKind) {
			t.Errorf("%v", err)
		}
	})
}

func TestEntryIsStoredWithItsChecksum(t *testing.T) {
	t.Parallel()
	dir := grownDir(t, 0)
	_, m, err := reopen(t, dir, "boot", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i := uint64(1); i <= m.store.last; i++ {
		var l raft.Log
		if err := m.store.readLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type == raft.LogCommand && len(l.Extensions) != tagSize {
			t.Errorf("entry %d: raft is given %d bytes of extensions", i, len(l.Extensions))
		}
	}
}
