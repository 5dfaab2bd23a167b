package fsm_test

import (
	"testing"

	"hive/fsm"
)

func TestLastUseIsTheNewestAndGoesWithItsKeyOrRole(t *testing.T) {
	g := newIAM(t)
	id := fsm.AccountID("111111111111")
	key := fsm.AccessKey{Account: id, ID: "AKIAIOSFODNN7EXAMPLE", Secret: []byte{1}}
	role := fsm.Role{Account: id, ID: "AROAIOSFODNN7EXAMPLE1", Name: "r", Path: "/", Trust: "{}", MaxSession: 3600}
	g.must(&fsm.CreateAccessKey{Key: key})
	g.must(&fsm.CreateRole{Role: role})
	used := func(at int64) *fsm.RecordUses {
		last := fsm.LastUsed{Time: at, Region: "r", Service: "s3"}
		return &fsm.RecordUses{Uses: []fsm.Use{
			{Account: id, Key: key.ID, Last: last}, {Account: id, Role: role.ID, Last: last},
			{Account: id, Key: "AKIAGONE000000000000", Last: last}, {Account: id, Role: "AROAGONE0000000000000", Last: last},
		}}
	}
	g.must(used(20))
	g.must(used(10)) // of a node that was slower to say so
	see := func(wantKey, wantRole int64) {
		t.Helper()
		g.view(func(v *fsm.View) {
			k, okKey := fsm.KeyLastUsed(v, id, key.ID)
			r, okRole := fsm.RoleLastUsed(v, id, role.ID)
			if k.Time != wantKey || r.Time != wantRole || okKey != (wantKey > 0) || okRole != (wantRole > 0) {
				t.Errorf("%+v, %+v", k, r)
			}
			if _, ok := fsm.KeyLastUsed(v, id, "AKIAGONE000000000000"); ok {
				t.Error("a key that is none was used")
			}
		})
	}
	see(20, 20)
	g.must(used(30))
	see(30, 30)
	g.must(&fsm.DeleteAccessKey{Account: id, ID: key.ID})
	see(0, 30)
	g.must(&fsm.DeleteRole{Account: id, ID: role.ID})
	see(0, 0)
	if err := (&fsm.RecordUses{Uses: []fsm.Use{{Account: id}}}).Check(nil); err == nil {
		t.Error("a use of nothing")
	}
}
