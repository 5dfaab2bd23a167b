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
}

// Table is a named map from ordered keys to records. Tables are declared as variables beside the
// records that they hold; the state lies in the Machine.
type Table[K ~string, V any] struct{ Name string }

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
	w.header.remove(bucket.Get([]byte(k)))
	raw = sealValue(t.Name, []byte(k), raw)
	if err := bucket.Put([]byte(k), raw); err != nil {
		panic(corruptState{fmt.Errorf("put %s/%q: %w", t.Name, k, err)})
	}
	w.header.add(raw)
}

// Delete removes the record under k, if any.
func (t Table[K, V]) Delete(w *Writer, k K) {
	bucket := w.tx.Bucket([]byte(t.Name))
	if bucket == nil {
		return
	}
	w.header.remove(bucket.Get([]byte(k)))
	if err := bucket.Delete([]byte(k)); err != nil {
		panic(corruptState{fmt.Errorf("delete %s/%q: %w", t.Name, k, err)})
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
