package fsm

import (
	"encoding/binary"
	"strconv"
)

// Notice is a change of state as the rest of the world is told of it: the part of an EventBridge event that does not
// depend on who tells it. It is recorded with the change, in one transaction.
type Notice struct {
	Source     string    `cbor:"1,keyasint"`           // "aws.ec2"
	DetailType string    `cbor:"2,keyasint"`           // "EC2 Instance State-change Notification"
	Account    AccountID `cbor:"3,keyasint,omitempty"` // "" for what is the cluster's own
	Resources  []string  `cbor:"4,keyasint,omitempty"` // ARNs, with REGION for the region
	// Detail has a path of names, parted by dots, to a text; a path that ends in # has a JSON value instead. The path "#"
	// alone has the whole of the detail as JSON.
	Detail map[string]string `cbor:"5,keyasint,omitempty"`
	Time   int64             `cbor:"6,keyasint,omitempty"` // Unix ms, when the leader took the command into its log
}

// Noticed is a Notice and its place: of the command that made it in the group's log, and among what that command made.
type Noticed struct {
	Index uint64 `cbor:"10,keyasint"`
	Seq   int    `cbor:"11,keyasint,omitempty"`
	Notice
}

// NoticesKept is how many notices a group keeps; the oldest go first.
const NoticesKept = 20_000

// noticeKey is the place of a notice among all that the group ever made, in 8 bytes, big endian.
type noticeKey string

func noticeAt(n uint64) noticeKey {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], n)
	return noticeKey(raw[:])
}

var notices = Table[noticeKey, Noticed]{Name: "notice"}

// Notices are the notices of commands after an index of the log, in order, max of them and the rest of the last one's
// command.
func Notices(v *View, after uint64, max int) []Noticed {
	var out []Noticed
	for _, n := range notices.From(v, firstNotice(v, after)) {
		if len(out) >= max && n.Index != out[len(out)-1].Index {
			break
		}
		out = append(out, n)
	}
	return out
}

// OldestNotice is the index of the oldest notice that is kept; 0 when there is none.
func OldestNotice(v *View) uint64 {
	for _, n := range notices.From(v, "") {
		return n.Index
	}
	return 0
}

// firstNotice is the key of the first notice of a command after an index: places and indexes grow together.
func firstNotice(v *View, after uint64) noticeKey {
	low, high := firstPlace(v), lastPlace(v)+1
	for low < high {
		mid := low + (high-low)/2
		if n, ok := notices.Get(v, noticeAt(mid)); ok && n.Index > after {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return noticeAt(low)
}

func firstPlace(v *View) uint64 {
	if k, ok := notices.edge(v, false); ok {
		return binary.BigEndian.Uint64([]byte(k))
	}
	return 1
}

func lastPlace(v *View) uint64 {
	if k, ok := notices.edge(v, true); ok {
		return binary.BigEndian.Uint64([]byte(k))
	}
	return 0
}

// tell records a notice of the command that is being recorded.
func (w *Writer) tell(n Notice) {
	place := lastPlace(&w.View) + 1
	n.Time = w.time
	notices.Put(w, noticeAt(place), Noticed{Index: w.index, Seq: w.told, Notice: n})
	w.told++
	for old := firstPlace(&w.View); old+NoticesKept <= place; old++ {
		notices.Delete(w, noticeAt(old))
	}
}

// number is a number as Detail has it.
func number[T ~int | ~int32 | ~int64 | ~uint64](n T) string { return strconv.FormatInt(int64(n), 10) }
