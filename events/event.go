package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hive/fsm"
)

// ClusterAccount stands for an account in events that are the cluster's own: nodes, leadership, accounts.
const ClusterAccount = "cluster"

// Event is a change of state as EventBridge shows one ("Events in Amazon EventBridge"), and in Hive where it stands in
// the cluster's logs.
type Event struct {
	Version    string         `json:"version"`
	ID         string         `json:"id"` // the same whoever sends it, and however often
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Account    string         `json:"account"`
	Time       string         `json:"time"` // RFC 3339, UTC, seconds
	Region     string         `json:"region"`
	Resources  []string       `json:"resources"`
	Detail     map[string]any `json:"detail"`
	Hive       Place          `json:"hive"`
}

// Place is where an event stands: a log entry of a Raft group, and which of the events that this entry made.
type Place struct {
	Group fsm.GroupID `json:"group"`
	Index uint64      `json:"index"`
	Seq   int         `json:"seq,omitempty"`
}

// Realm is what events have in common.
type Realm struct {
	Cluster fsm.ClusterID
	Region  string
}

// Event is a notice of a group as the world sees it.
func (r Realm) Event(group fsm.GroupID, n fsm.Noticed) Event {
	e := Event{
		Version: "0", ID: r.id(group, n.Index, n.Seq), DetailType: n.DetailType, Source: n.Source, Account: accountName(n.Account),
		Time: time.UnixMilli(n.Time).UTC().Format(time.RFC3339), Region: r.Region, Resources: []string{}, Detail: nest(n.Detail),
		Hive: Place{Group: group, Index: n.Index, Seq: n.Seq},
	}
	for _, arn := range n.Resources {
		e.Resources = append(e.Resources, r.place(arn))
	}
	return e
}

func accountName(id fsm.AccountID) string {
	if id == "" {
		return ClusterAccount
	}
	return string(id)
}

// place puts the region where an ARN has the word REGION for it.
func (r Realm) place(arn string) string {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) == 5 && parts[3] == "REGION" {
		parts[3] = r.Region
		return strings.Join(parts, ":")
	}
	return arn
}

// id is a UUID made from what the event is (RFC 9562, version 8): the cluster, the group and the place in its log.
func (r Realm) id(group fsm.GroupID, index uint64, seq int) string {
	h := sha256.New()
	fmt.Fprintf(h, "hive event\x00%s\x00%s\x00", r.Cluster, group)
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], index)
	binary.BigEndian.PutUint64(place[8:], uint64(seq))
	h.Write(place[:])
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Subject is what an event is published on: hive.<region>.<account>.<service>.<detail type>.
func (e *Event) Subject() string {
	service := e.Source[strings.LastIndexByte(e.Source, '.')+1:]
	return strings.Join([]string{Root, token(e.Region), token(e.Account), token(service), token(e.DetailType)}, ".")
}

// Root is the first word of all subjects.
const Root = "hive"

// Prefix is what all subjects of an account begin with, without the last dot.
func (r Realm) Prefix(account string) string {
	return strings.Join([]string{Root, token(r.Region), token(account)}, ".")
}

// token makes one word of a subject: lower case, words joined by hyphens, nothing that has a meaning in a subject.
func token(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, "-")
}

// JSON is the event as it is sent: one line of JSON, without the escapes that are for HTML.
func (e *Event) JSON() ([]byte, error) { return marshal(e) }

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// nest makes an object of the paths of a notice's detail: see fsm.Notice. What should be JSON and is not stays a text.
func nest(flat map[string]string) map[string]any {
	root := map[string]any{}
	whole := map[string]json.RawMessage{}
	if text, ok := flat["#"]; ok && json.Unmarshal([]byte(text), &whole) == nil {
		for name, value := range whole {
			root[name] = value
		}
		return root
	}
	for _, path := range slices.Sorted(maps.Keys(flat)) {
		var value any = flat[path]
		name, raw := strings.CutSuffix(path, "#")
		if raw && json.Valid([]byte(flat[path])) {
			value = json.RawMessage(flat[path])
		}
		graft(root, name, value)
	}
	return root
}

// graft puts value at a path. Where the path would go through what is no object, the whole path is the name.
func graft(root map[string]any, path string, value any) {
	at, rest := root, path
	for {
		name, more, deeper := strings.Cut(rest, ".")
		if !deeper {
			if _, taken := at[rest]; !taken {
				at[rest] = value
				return
			}
			break
		}
		next, ok := at[name].(map[string]any)
		if !ok {
			if _, taken := at[name]; taken {
				break
			}
			next = map[string]any{}
			at[name] = next
		}
		at, rest = next, more
	}
	root[path] = value
}
