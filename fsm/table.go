package fsm

import (
	"bytes"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"
)

// View is a consistent read of one group's state. It is valid only inside the function that it
// was given to.
type View struct {
	tx    *bbolt.Tx
	index uint64
}

// Index is the log index of the last entry that this view contains.
func (v *View) Index() uint64 { return v.index }

// Writer records a command. It reads like a View and sees its own writes.
type Writer struct {
	View
	header *header // of the transaction: what it says of the records follows every write
	time   int64   // Unix ms, when the leader took the command into its log; 0 when it is not known
	told   int     // notices of this command
}

// Table is a named map from ordered keys to records. Tables are declared as variables beside the
// records that they hold; the state lies in the Machine.
type Table[K ~string, V any] struct {
	Name string
	// Watch, if any, is called with every change of a record, after it and as a part of it: old is nil for a new record, now for
	// one that is gone. It counts and tells; the table itself it must not write.
	Watch func(w *Writer, key K, old, now *V)
}

// corruptState is panicked with when a record cannot be read: the Machine turns it into an error.
type corruptState struct{ err error }

// Get is the record under k, and whether there is one.
func (t Table[K, V]) Get(v *View, k K) (V, bool) {
	var val V
	bucket := v.tx.Bucket([]byte(t.Name))
	if bucket == nil {
		return val, false
	}
	raw := bucket.Get([]byte(k))
	if raw == nil {
		return val, false
	}
	t.decode(raw, []byte(k), &val)
	return val, true
}

// Has tells whether there is a record under k, without reading it.
func (t Table[K, V]) Has(v *View, k K) bool {
	bucket := v.tx.Bucket([]byte(t.Name))
	return bucket != nil && bucket.Get([]byte(k)) != nil
}

// unfitKey is panicked with when a record is put under a key that no table can hold. The Machine refuses
// the command with ErrInvalid, on every node alike: in the log for good, it must not stop them.
type unfitKey struct{ err error }

// Put writes val under k and stamps its Rev where it embeds Meta.
func (t Table[K, V]) Put(w *Writer, k K, val V) {
	if len(k) == 0 || len(k) > bbolt.MaxKeySize {
		panic(unfitKey{Errorf(ErrInvalid, "key of %d bytes in table %s", len(k), t.Name)})
	}
	if r, ok := any(&val).(interface{ setRev(uint64) }); ok {
		r.setRev(w.index)
	}
	raw, err := encoder.Marshal(val)
	if err != nil {
		panic(corruptState{fmt.Errorf("encode %s/%q: %w", t.Name, k, err)})
	}
	bucket, err := w.tx.CreateBucketIfNotExists([]byte(t.Name))
	if err != nil {
		panic(corruptState{fmt.Errorf("table %s: %w", t.Name, err)})
	}
	have := bucket.Get([]byte(k))
	old := t.watched(have, k)
	w.header.remove(have)
	raw = sealValue(t.Name, []byte(k), raw)
	if err := bucket.Put([]byte(k), raw); err != nil {
		panic(corruptState{fmt.Errorf("put %s/%q: %w", t.Name, k, err)})
	}
	w.header.add(raw)
	if t.Watch != nil {
		t.Watch(w, k, old, &val)
	}
}

// watched is the record of raw for Watch; nil when there is none or nobody watches.
func (t Table[K, V]) watched(raw []byte, k K) *V {
	if t.Watch == nil || raw == nil {
		return nil
	}
	old := new(V)
	t.decode(raw, []byte(k), old)
	return old
}

// Delete removes the record under k, if any.
func (t Table[K, V]) Delete(w *Writer, k K) {
	bucket := w.tx.Bucket([]byte(t.Name))
	if bucket == nil {
		return
	}
	have := bucket.Get([]byte(k))
	old := t.watched(have, k)
	w.header.remove(have)
	if err := bucket.Delete([]byte(k)); err != nil {
		panic(corruptState{fmt.Errorf("delete %s/%q: %w", t.Name, k, err)})
	}
	if old != nil {
		t.Watch(w, k, old, nil)
	}
}

// dropOf removes the records whose keys begin with an account and a zero byte, or are the account.
func (t Table[K, V]) dropOf(w *Writer, account AccountID) {
	var gone []K
	for k := range t.Scan(&w.View, K(account)) {
		if rest := string(k)[len(account):]; rest == "" || rest[0] == 0 {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		t.Delete(w, k)
	}
}

// edge is the first or the last key.
func (t Table[K, V]) edge(v *View, last bool) (K, bool) {
	bucket := v.tx.Bucket([]byte(t.Name))
	if bucket == nil {
		return "", false
	}
	c := bucket.Cursor()
	k, _ := c.First()
	if last {
		k, _ = c.Last()
	}
	return K(k), k != nil
}

// Back goes over the records whose key begins with prefix and is below before, from the last to the first. No before means
// all of them.
func (t Table[K, V]) Back(v *View, prefix, before K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		bucket := v.tx.Bucket([]byte(t.Name))
		if bucket == nil {
			return
		}
		c := bucket.Cursor()
		end := []byte(before)
		if before == "" {
			end = append([]byte(prefix), bytes.Repeat([]byte{0xff}, 16)...)
		}
		step := c.Prev
		if k, _ := c.Seek(end); k == nil {
			step = c.Last
		}
		for k, raw := step(); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, raw = c.Prev() {
			var val V
			t.decode(raw, k, &val)
			if !yield(K(k), val) {
				return
			}
		}
	}
}

// Scan goes over the records whose key begins with prefix, in the byte order of keys.
// The table must not be written inside the loop.
func (t Table[K, V]) Scan(v *View, prefix K) iter.Seq2[K, V] {
	return t.walk(v, []byte(prefix), func(k []byte) bool { return bytes.HasPrefix(k, []byte(prefix)) })
}

// From goes over the records from start on, in the byte order of keys.
func (t Table[K, V]) From(v *View, start K) iter.Seq2[K, V] {
	return t.walk(v, []byte(start), func([]byte) bool { return true })
}

func (t Table[K, V]) walk(v *View, start []byte, in func([]byte) bool) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		bucket := v.tx.Bucket([]byte(t.Name))
		if bucket == nil {
			return
		}
		c := bucket.Cursor()
		for k, raw := c.Seek(start); k != nil && in(k); k, raw = c.Next() {
			var val V
			t.decode(raw, k, &val)
			if !yield(K(k), val) {
				return
			}
		}
	}
}

func (t Table[K, V]) decode(raw, key []byte, val *V) {
	body, err := openValue(t.Name, key, raw)
	if err == nil {
		err = decoder.Unmarshal(body, val)
	}
	if err != nil {
		panic(corruptState{fmt.Errorf("record %s/%q: %w", t.Name, key, err)})
	}
}
