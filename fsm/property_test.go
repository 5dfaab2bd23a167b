package fsm

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// drawCommand draws commands over few names, so that they meet each other and are often refused.
func drawCommand(t *rapid.T) Command {
	account := AccountID("123456789012")
	n := rapid.IntRange(0, 3)
	id := func() EntityID { return EntityID(fmt.Sprint("AIDA", n.Draw(t, "user"))) }
	key := func() AccessKeyID { return AccessKeyID(fmt.Sprint("AKIA", n.Draw(t, "key"))) }
	switch rapid.IntRange(0, 10).Draw(t, "command") {
	case 0:
		return token(n.Draw(t, "token"))
	case 1:
		return &RevokeToken{ID: token(n.Draw(t, "token")).Token.ID}
	case 2:
		return &CreateAccount{Account: Account{ID: account}}
	case 3:
		return &CreateUser{User: User{Account: account, ID: id(), Name: fmt.Sprint("u", n.Draw(t, "name")), Path: "/"}}
	case 4:
		return &DeleteUser{Account: account, ID: id()}
	case 5:
		return &CreateAccessKey{Key: AccessKey{Account: account, User: id(), ID: key(), Secret: []byte("s")}}
	case 6:
		return &DeleteAccessKey{Account: account, User: id(), ID: key()}
	case 7:
		return &UpdateUser{User: User{
			Meta: Meta{Rev: rapid.Uint64Range(1, 40).Draw(t, "rev")}, Account: account, ID: id(), Name: fmt.Sprint("u", n.Draw(t, "name")), Path: "/p/",
		}}
	case 8:
		doc := rapid.StringN(0, 3000, -1).Draw(t, "document")
		return &PutInlinePolicy{Account: account, Owner: id(), Policy: InlinePolicy{Name: "p", Document: doc}}
	case 9:
		return &AttachPolicy{Account: account, Owner: id(), ARN: "arn:aws:iam::aws:policy/X"}
	default:
		return drawEntityCommand(t, account)
	}
}

// drawEntityCommand draws commands on groups, roles, instance profiles and managed policies.
func drawEntityCommand(t *rapid.T, account AccountID) Command {
	id := func(kind EntityKind) EntityID {
		return EntityID(fmt.Sprint(kind.Prefix(), rapid.IntRange(0, 1).Draw(t, string(kind))))
	}
	name := func() string { return fmt.Sprint("n", rapid.IntRange(0, 1).Draw(t, "name")) }
	arn := "arn:aws:iam::" + string(account) + ":policy/" + name()
	group, role, profile, policy := id(GroupEntity), id(RoleEntity), id(ProfileEntity), id(PolicyEntity)
	return rapid.SampledFrom([]Command{
		&CreateGroup{Group: IAMGroup{Account: account, ID: group, Name: name(), Path: "/"}},
		&AddUserToGroup{Account: account, Group: group, User: id(UserEntity)},
		&RemoveUserFromGroup{Account: account, Group: group, User: id(UserEntity)},
		&DeleteGroup{Account: account, ID: group},
		&CreateRole{Role: Role{Account: account, ID: role, Name: name(), Path: "/", Boundary: arn}},
		&DeleteRole{Account: account, ID: role},
		&CreateInstanceProfile{Profile: InstanceProfile{Account: account, ID: profile, Name: name(), Path: "/"}},
		&AddRoleToInstanceProfile{Account: account, Profile: profile, Role: role},
		&RemoveRoleFromInstanceProfile{Account: account, Profile: profile, Role: role},
		&DeleteInstanceProfile{Account: account, ID: profile},
		&CreateManagedPolicy{Policy: ManagedPolicy{Account: account, ID: policy, Name: name(), Path: "/"}},
		&CreatePolicyVersion{Account: account, Policy: policy, Version: PolicyVersion{Number: 2}, Default: true},
		&DeletePolicyVersion{Account: account, Policy: policy, Number: 1},
		&DeleteManagedPolicy{Account: account, ID: policy},
		&AttachPolicy{Account: account, Owner: role, ARN: arn},
		&DetachPolicy{Account: account, Owner: role, ARN: arn},
	}).Draw(t, "entity command")
}

// history is a log with the digest of the state after each of its entries and snapshots of some of them.
type history struct {
	entries   []*raft.Log
	digests   map[uint64][32]byte
	snapshots map[uint64][]byte
}

func drawHistory(t *rapid.T, dir string) history {
	m, err := Open(Config{Path: filepath.Join(dir, "reference"), Class: Control, BootID: "r", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	h := history{digests: map[uint64][32]byte{}, snapshots: map[uint64][]byte{}}
	index := uint64(0)
	note := func() {
		_, sum, err := m.Digest()
		if err != nil {
			t.Fatal(err)
		}
		h.digests[index] = sum
	}
	note()
	for range rapid.IntRange(1, 40).Draw(t, "entries") {
		index += rapid.Uint64Range(1, 3).Draw(t, "gap") // entries that raft keeps to itself
		e := &raft.Log{Index: index, Type: raft.LogConfiguration}
		if rapid.IntRange(0, 9).Draw(t, "type") > 0 {
			if e.Data, err = EncodeCommand(drawCommand(t)); err != nil {
				t.Fatal(err)
			}
			e.Type = raft.LogCommand
		}
		h.entries = append(h.entries, e)
		m.Apply(e)
		note()
		if rapid.IntRange(0, 5).Draw(t, "snapshot") == 0 {
			h.snapshots[index] = snapshotBytes(t, m)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

func snapshotBytes(t *rapid.T, m *Machine) []byte {
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	out := new(sink)
	if err := snap.Persist(out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// walker is a machine that goes through a history with crashes.
type walker struct {
	t    *rapid.T
	h    history
	dir  string
	boot int
	n    int
	m    *Machine
	seen uint64 // the newest index that a View has shown
}

func (w *walker) open(path string) {
	m, err := Open(Config{Path: path, Class: Control, BootID: fmt.Sprint(w.boot), Log: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
}

// look checks that the state is the one that the history has at its index, and none before the last.
func (w *walker) look(step string) {
	err := w.m.View(func(v *View) error {
		if v.Index() < w.seen {
			w.t.Fatalf("%s: the view went back from %d to %d", step, w.seen, v.Index())
		}
		w.seen = v.Index()
		return nil
	})
	index, sum, digestErr := w.m.Digest()
	if err != nil || digestErr != nil || sum != w.h.digests[index] || index != w.m.Applied() {
		w.t.Fatalf("%s: state at %d, applied %d, is not the history's: %v, %v", step, index, w.m.Applied(), err, digestErr)
	}
}

// apply gives a batch that begins anywhere before what is still to come.
func (w *walker) apply() {
	next := 0
	for next < len(w.h.entries) && w.h.entries[next].Index <= w.m.Applied() {
		next++
	}
	from := rapid.IntRange(0, next).Draw(w.t, "from")
	to := min(rapid.IntRange(from, from+15).Draw(w.t, "to"), len(w.h.entries))
	if to > from {
		w.m.ApplyBatch(w.h.entries[from:to])
	}
	if err := w.m.Failure(); err != nil {
		w.t.Fatal(err)
	}
}

// kill leaves the file as a killed process does and opens that, under the same boot.
func (w *walker) kill() {
	data, err := os.ReadFile(w.m.cfg.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.m.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.n++
	path := filepath.Join(w.dir, fmt.Sprint("state-", w.n))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.open(path)
}

func (w *walker) restart() {
	path := w.m.cfg.Path
	if err := w.m.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.boot++
	w.open(path)
	if w.m.Rebuilt() != (w.m.Applied() == 0) {
		w.t.Fatal("a clean close was not believed")
	}
}

// losePower opens what a killed process left under another boot: the state begins anew, nobody reads
// it before the newest snapshot is restored.
func (w *walker) losePower() {
	w.boot++
	had := w.m.Applied() > 0
	w.kill()
	if had && !w.m.Rebuilt() {
		w.t.Fatal("a state that was open when power was lost is believed")
	}
	w.seen = 0
}

func (w *walker) restore() {
	for index, snap := range w.h.snapshots { // any: older ones are left
		before := w.m.Applied()
		if err := restore(w.m, snap); err != nil {
			w.t.Fatal(err)
		}
		if w.m.Applied() != max(before, index) {
			w.t.Fatalf("restored %d over %d: applied %d", index, before, w.m.Applied())
		}
		return
	}
}

func TestAnyBatchingWithCrashesAndReplaysEndsInTheSameState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "run")
		if err != nil {
			rt.Fatal(err)
		}
		w := &walker{t: rt, h: drawHistory(rt, dir), dir: dir}
		w.open(filepath.Join(dir, "state"))
		defer func() {
			if err := w.m.Close(); err != nil {
				rt.Error(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				rt.Error(err)
			}
		}()
		steps := map[string]func(){
			"apply": w.apply, "kill": w.kill, "restart": w.restart, "lose power": w.losePower, "restore": w.restore,
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			step := rapid.SampledFrom([]string{"apply", "apply", "apply", "kill", "restart", "lose power", "restore"}).Draw(rt, "step")
			steps[step]()
			w.look(step)
		}
		w.m.ApplyBatch(w.h.entries)
		w.look("end")
		if last := w.h.entries[len(w.h.entries)-1].Index; w.m.Applied() != last {
			rt.Fatalf("applied %d of %d", w.m.Applied(), last)
		}
	})
}
