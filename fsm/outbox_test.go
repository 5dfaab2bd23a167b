package fsm

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// applyAt applies a command as the entry of an index that the leader took at a time.
func applyAt(t *testing.T, m *Machine, index uint64, at time.Time, cmd Command) {
	t.Helper()
	entry, err := EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if answer := m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: entry, AppendedAt: at}); answer != nil {
		t.Fatal(answer)
	}
}

func view(t *testing.T, m *Machine, fn func(v *View)) {
	t.Helper()
	if err := m.View(func(v *View) error { fn(v); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestAChangeIsToldOnceWithItsIndexAndTime(t *testing.T) {
	m := newMachine(t)
	at := time.UnixMilli(1_700_000_000_123)
	applyAt(t, m, 3, at, &CreateBucket{Name: "b", Owner: "123456789012", Region: "r", Created: 1})
	applyAt(t, m, 7, at, &BeginDeleteBucket{Name: "b", Rev: 3}) // a step of a deletion is no news
	applyAt(t, m, 9, at, &RemoveBucket{Name: "b", Rev: 7})
	view(t, m, func(v *View) {
		got := Notices(v, 0, 10)
		if len(got) != 2 || got[0].Index != 3 || got[1].Index != 9 || got[0].Time != at.UnixMilli() {
			t.Fatalf("%+v", got)
		}
		if d := got[1].Detail; d["id"] != "b" || d["change"] != "deleted" || got[1].DetailType != "Hive Bucket Change" {
			t.Errorf("%+v", got[1])
		}
		if after := Notices(v, 3, 10); len(after) != 1 || after[0].Index != 9 {
			t.Errorf("after 3: %+v", after)
		}
		if OldestNotice(v) != 3 {
			t.Errorf("oldest %d", OldestNotice(v))
		}
	})
}

func TestNoticesOfOneCommandStayTogetherAndInOrder(t *testing.T) {
	m := newMachine(t)
	now := time.UnixMilli(1)
	applyAt(t, m, 1, now, &CreateAccount{Account: Account{ID: "123456789012"}})
	applyAt(t, m, 2, now, &CreateDefaultVPC{
		VPC:     VPC{ID: "vpc-1", Account: "123456789012", CIDR: "10.0.0.0/16", VNI: 1},
		Subnets: []Subnet{{ID: "subnet-1", Account: "123456789012", VPC: "vpc-1", CIDR: "10.0.0.0/24"}},
		Group:   SecurityGroup{ID: "sg-1", Account: "123456789012", VPC: "vpc-1", Name: "default"},
	})
	view(t, m, func(v *View) {
		got := Notices(v, 1, 1) // one is asked for; its command's others come along
		if len(got) != 3 {
			t.Fatalf("%+v", got)
		}
		for i, n := range got {
			if n.Index != 2 || n.Seq != i {
				t.Errorf("%d: %+v", i, n)
			}
		}
	})
}

func TestTheOldestNoticesGoFirst(t *testing.T) {
	m := newMachine(t)
	var entries []*raft.Log
	for i := range NoticesKept + 25 {
		entry, err := EncodeCommand(&CreateBucket{Name: BucketName(fmt.Sprint("b", i)), Owner: AccountID(fmt.Sprintf("%012d", i)), Region: "r"})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, &raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: entry})
	}
	m.ApplyBatch(entries)
	view(t, m, func(v *View) {
		if OldestNotice(v) != 26 {
			t.Errorf("oldest %d, want 26", OldestNotice(v))
		}
		if got := Notices(v, 100, 1); len(got) != 1 || got[0].Index != 101 {
			t.Errorf("%+v", got)
		}
		if got := Notices(v, NoticesKept+24, 5); len(got) != 1 {
			t.Errorf("the last: %+v", got)
		}
	})
}

func TestAQuotaIsCountedAndCannotBePassed(t *testing.T) {
	m := newMachine(t)
	now := time.UnixMilli(1)
	const account = "123456789012"
	applyAt(t, m, 1, now, &CreateAccount{Account: Account{ID: account}})
	applyAt(t, m, 2, now, &SetQuota{Account: account, Name: QuotaBuckets, Limit: 2})
	refused := func(index uint64, cmd Command) error {
		entry, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		err, _ = m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: entry}).(error)
		return err
	}
	applyAt(t, m, 3, now, &CreateBucket{Name: "a", Owner: account, Region: "r"})
	applyAt(t, m, 4, now, &CreateBucket{Name: "b", Owner: account, Region: "r"})
	if err := refused(5, &CreateBucket{Name: "c", Owner: account, Region: "r"}); err == nil || err.Error() != "quota/buckets: 2: limit reached" {
		t.Errorf("one too many: %v", err)
	}
	applyAt(t, m, 6, now, &CreateBucket{Name: "c", Owner: "999999999999", Region: "r"}) // another account's
	if err := refused(7, &DeleteAccount{ID: account}); err == nil {
		t.Error("the last account was deleted")
	}
	applyAt(t, m, 8, now, &CreateAccount{Account: Account{ID: "999999999999"}})
	if err := refused(9, &DeleteAccount{ID: account}); err == nil || err.Error() != "2 buckets: in use" {
		t.Errorf("an account with buckets: %v", err)
	}
	for i, name := range []BucketName{"a", "b"} {
		applyAt(t, m, uint64(10+2*i), now, &BeginDeleteBucket{Name: name, Rev: uint64(3 + i)})
		applyAt(t, m, uint64(11+2*i), now, &RemoveBucket{Name: name, Rev: uint64(10 + 2*i)})
	}
	view(t, m, func(v *View) {
		if used := UsedOf(v, account, QuotaBuckets); used != 0 {
			t.Errorf("used %d", used)
		}
	})
	applyAt(t, m, 20, now, &DeleteAccount{ID: account})
	view(t, m, func(v *View) {
		if _, there := AccountOf(v, account); there || QuotaOf(v, account, QuotaBuckets) == 2 {
			t.Error("something of the account is left")
		}
	})
}

func TestAuditEventsAreReadFromTheNewestAndPruned(t *testing.T) {
	m := newMachine(t)
	now := time.UnixMilli(1)
	applyAt(t, m, 1, now, &CreateAccount{Account: Account{ID: "123456789012"}})
	applyAt(t, m, 2, now, &CreateAccount{Account: Account{ID: "123456789013"}})
	event := func(account AccountID, ms int64) AuditEvent {
		return AuditEvent{Account: account, ID: fmt.Sprint(ms), Time: ms, Name: "CreateUser", Source: "iam.amazonaws.com"}
	}
	for i := range 5 {
		at := int64(i)
		applyAt(t, m, uint64(3+i), now, &RecordAudit{Events: []AuditEvent{event("123456789012", 2*at), event("123456789013", 100), event("123456789012", 2*at+1)}})
	}
	times := func(before string, n int) (out []int64, last string) {
		view(t, m, func(v *View) {
			for k, e := range AuditEvents(v, "123456789012", before) {
				if out, last = append(out, e.Time), k; len(out) == n {
					return
				}
			}
		})
		return out, last
	}
	first, last := times("", 3)
	rest, _ := times(last, 100)
	if fmt.Sprint(first, rest) != "[9 8 7] [6 5 4 3 2 1 0]" {
		t.Errorf("%v %v", first, rest)
	}
	view(t, m, func(v *View) {
		got, upTo := AuditSince(v, 5, 100)
		if len(got) != 6 || got[0].Time != 6 || got[1].Time != 100 || upTo != v.Index() {
			t.Errorf("since 5: %+v up to %d", got, upTo)
		}
		var paged []AuditEvent
		pages := 0
		for after := uint64(0); after < v.Index(); pages++ {
			var page []AuditEvent
			page, after = AuditSince(v, after, 3)
			paged = append(paged, page...)
		}
		all, _ := AuditSince(v, 0, 1000)
		if len(all) != 15 || !reflect.DeepEqual(paged, all) || pages < 3 {
			t.Errorf("%d events in %d pages, %d at once", len(paged), pages, len(all))
		}
	})
	applyAt(t, m, 9, now, &PruneAudit{Account: "123456789012", Before: 4, Keep: 100})
	if left, _ := times("", 100); len(left) != 6 {
		t.Errorf("by age: %v", left)
	}
	applyAt(t, m, 10, now, &PruneAudit{Account: "123456789012", Before: 0, Keep: 2})
	if left, _ := times("", 100); fmt.Sprint(left) != "[9 8]" {
		t.Errorf("by number: %v", left)
	}
	view(t, m, func(v *View) {
		if AuditToPrune(v, "123456789012", 0, 2) {
			t.Error("there is still something to prune")
		}
	})
}
