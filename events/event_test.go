package events_test

import (
	"encoding/json"
	"testing"

	"hive/events"
	"hive/fsm"
)

var realm = events.Realm{Cluster: "c-01234567", Region: region}

func TestAnEventHasTheShapeOfEventBridge(t *testing.T) {
	for _, c := range []struct {
		n             fsm.Noticed
		subject, want string
	}{
		{
			fsm.Noticed{Index: 7, Notice: fsm.Notice{
				Source: "aws.ec2", DetailType: "EC2 Instance State-change Notification", Account: alice,
				Resources: []string{"arn:aws:ec2:REGION:111111111111:instance/i-1"}, Detail: map[string]string{"instance-id": "i-1", "state": "running"},
				Time: 1_767_323_045_678,
			}},
			"hive.eu-1.111111111111.ec2.ec2-instance-state-change-notification",
			`{"version":"0","id":"46a1170b-3d19-8c9d-a824-9821035e6f5f","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2",` +
				`"account":"111111111111","time":"2026-01-02T03:04:05Z","region":"eu-1","resources":["arn:aws:ec2:eu-1:111111111111:instance/i-1"],` +
				`"detail":{"instance-id":"i-1","state":"running"},"hive":{"group":"control","index":7}}`,
		},
		{
			fsm.Noticed{Index: 8, Seq: 2, Notice: fsm.Notice{
				Source: "aws.s3", DetailType: "Object Created", Account: alice, Resources: []string{"arn:aws:s3:::REGION"},
				Detail: map[string]string{
					"version": "0", "bucket.name": "b", "object.key": "a/<é>.png", "object.size#": "5", "object.etag": "e", "object.sequencer": "0008",
					"request-id": "r", "requester": "111111111111", "source-ip-address": "192.0.2.1", "reason": "PutObject",
				},
			}},
			"hive.eu-1.111111111111.s3.object-created",
			`{"version":"0","id":"fa2cad37-492d-8bfb-b750-3c19dfeb3407","detail-type":"Object Created","source":"aws.s3","account":"111111111111",` +
				`"time":"1970-01-01T00:00:00Z","region":"eu-1","resources":["arn:aws:s3:::REGION"],"detail":{"bucket":{"name":"b"},` +
				`"object":{"etag":"e","key":"a/<é>.png","sequencer":"0008","size":5},"reason":"PutObject","request-id":"r","requester":"111111111111",` +
				`"source-ip-address":"192.0.2.1","version":"0"},"hive":{"group":"control","index":8,"seq":2}}`,
		},
		{
			fsm.Noticed{Index: 9, Notice: fsm.Notice{Source: "hive.cluster", DetailType: "Hive Node Change", Detail: map[string]string{"#": `{"a":[1]}`}}},
			"hive.eu-1.cluster.cluster.hive-node-change",
			`{"version":"0","id":"225e782b-c14e-86d9-8b94-2971a0b28f77","detail-type":"Hive Node Change","source":"hive.cluster","account":"cluster",` +
				`"time":"1970-01-01T00:00:00Z","region":"eu-1","resources":[],"detail":{"a":[1]},"hive":{"group":"control","index":9}}`,
		},
		{ // paths through what is no object, and what should be JSON and is not
			fsm.Noticed{Index: 10, Notice: fsm.Notice{
				Source: "a.b.C d", DetailType: "*. >", Account: "x", Detail: map[string]string{"a": "1", "a.b": "2", "c.d.e": "3", "c.d": "4", "f#": "{"},
			}},
			"hive.eu-1.x.c-d.-",
			`{"version":"0","id":"1689589f-2b7e-8c33-a722-5759e57dff0d","detail-type":"*. >","source":"a.b.C d","account":"x","time":"1970-01-01T00:00:00Z",` +
				`"region":"eu-1","resources":[],"detail":{"a":"1","a.b":"2","c":{"d":"4"},"c.d.e":"3","f":"{"},"hive":{"group":"control","index":10}}`,
		},
	} {
		e := realm.Event(fsm.ControlGroup, c.n)
		got, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if e.Subject() != c.subject {
			t.Errorf("subject %s, want %s", e.Subject(), c.subject)
		}
		var back events.Event
		if err := json.Unmarshal(got, &back); err != nil || back.Hive != e.Hive {
			t.Errorf("%v %v", back.Hive, err)
		}
	}
}

func TestTheIDOfAnEventTellsItFromAllOthers(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []events.Realm{realm, {Cluster: "c-76543210", Region: region}} {
		for _, g := range []fsm.GroupID{"control", "index-0", "index-1"} {
			for index := range uint64(20) {
				for seq := range 5 {
					e := r.Event(g, fsm.Noticed{Index: index, Seq: seq})
					if seen[e.ID] {
						t.Fatalf("%s twice", e.ID)
					}
					seen[e.ID] = true
					if again := r.Event(g, fsm.Noticed{Index: index, Seq: seq}); again.ID != e.ID {
						t.Fatal("another id the second time")
					}
				}
			}
		}
	}
}
