package fsm

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// ObjectID is the bucket's name, a zero byte, and the object's key: objects of a bucket lie together,
// in the byte order of their keys.
type ObjectID string

// NewObjectID joins bucket and key.
func NewObjectID(bucket BucketName, key string) ObjectID {
	return ObjectID(string(bucket) + "\x00" + key)
}

// Split is the inverse of NewObjectID.
func (id ObjectID) Split() (BucketName, string) {
	bucket, key, _ := strings.Cut(string(id), "\x00")
	return BucketName(bucket), key
}

// ObjectHead is what a listing shows of an object: the first fields of Object.
type ObjectHead struct {
	Meta
	Size     int64    `cbor:"1,keyasint,omitempty"`
	Modified int64    `cbor:"2,keyasint"`           // Unix time in ms
	MD5      []byte   `cbor:"3,keyasint"`           // of the bytes, or of the parts' MD5s
	Parts    int      `cbor:"4,keyasint,omitempty"` // when it was uploaded in parts: how many
	Sum      Checksum `cbor:"5,keyasint,omitzero"`
}

// ETag is the entity tag without its quotes: "hex", or "hex-parts".
func (h *ObjectHead) ETag() string {
	if h.Parts == 0 {
		return hex.EncodeToString(h.MD5)
	}
	return hex.EncodeToString(h.MD5) + "-" + strconv.Itoa(h.Parts)
}

// Checksum is one that the client asked to keep with its object.
type Checksum struct {
	Alg       uint8  `cbor:"1,keyasint"` // 1 CRC32, 2 CRC32C, 3 CRC64NVME, 4 SHA1, 5 SHA256
	Sum       []byte `cbor:"2,keyasint,omitempty"`
	Composite bool   `cbor:"3,keyasint,omitempty"` // of the parts' checksums, not of the bytes
}

// ObjectHeaders are what a client stores beside the bytes of an object.
type ObjectHeaders struct {
	ContentType        string            `cbor:"20,keyasint,omitempty"`
	CacheControl       string            `cbor:"21,keyasint,omitempty"`
	ContentDisposition string            `cbor:"22,keyasint,omitempty"`
	ContentEncoding    string            `cbor:"23,keyasint,omitempty"`
	ContentLanguage    string            `cbor:"24,keyasint,omitempty"`
	Expires            int64             `cbor:"25,keyasint,omitempty"` // Unix time in s, 0 for none
	Redirect           string            `cbor:"26,keyasint,omitempty"`
	UserMeta           map[string]string `cbor:"27,keyasint,omitempty"` // keys in lower case
	Tags               map[string]string `cbor:"28,keyasint,omitempty"`
}

// Object is the record of an object: its bytes are one blob, or those of a Manifest in order. An
// object without bytes has neither.
type Object struct {
	ObjectHead
	ObjectHeaders
	Blob   *BlobRef `cbor:"10,keyasint,omitempty"`
	Upload UploadID `cbor:"11,keyasint,omitempty"` // the upload that made it, whose Manifest it is
}

// Objects are the objects of all buckets whose keys belong to this group.
var Objects = Table[ObjectID, Object]{Name: "object", Watch: watchObject}

// ObjectHeads reads the same records as Objects, without what a listing does not show.
var ObjectHeads = Table[ObjectID, ObjectLine]{Name: Objects.Name}

// ObjectLine is an Object of which only the head is read.
type ObjectLine struct {
	ObjectHead
	unread
}

// unread has the fields of Object that ObjectHead has not: a field that is not named is an error.
type unread struct {
	F10 skipped `cbor:"10,keyasint"`
	F11 skipped `cbor:"11,keyasint"`
	F20 skipped `cbor:"20,keyasint"`
	F21 skipped `cbor:"21,keyasint"`
	F22 skipped `cbor:"22,keyasint"`
	F23 skipped `cbor:"23,keyasint"`
	F24 skipped `cbor:"24,keyasint"`
	F25 skipped `cbor:"25,keyasint"`
	F26 skipped `cbor:"26,keyasint"`
	F27 skipped `cbor:"27,keyasint"`
	F28 skipped `cbor:"28,keyasint"`
}

type skipped struct{}

// UnmarshalCBOR passes over the field's value.
func (*skipped) UnmarshalCBOR([]byte) error { return nil }

var objectKinds = []KindEntry{
	{1010, Index, func() Command { return new(PutObject) }},
	{1011, Index, func() Command { return new(DeleteObjects) }},
	{1012, Index, func() Command { return new(SetObjectTags) }},
}

// Precondition is what a write expects of the object that it replaces.
type Precondition struct {
	Absent bool   `cbor:"30,keyasint,omitempty"` // there is none
	ETag   string `cbor:"31,keyasint,omitempty"` // there is one, with this entity tag; "*" is any
}

// Check is ErrExists where there should be no object, ErrNotFound where there should be one, and
// ErrInvalid where it has another entity tag.
func (p *Precondition) Check(v *View, id ObjectID) error {
	if !p.Absent && p.ETag == "" {
		return nil
	}
	head, ok := ObjectHeads.Get(v, id)
	switch {
	case p.Absent && ok:
		return Errorf(ErrExists, string(id))
	case p.ETag != "" && !ok:
		return Errorf(ErrNotFound, string(id))
	case p.ETag != "" && p.ETag != "*" && p.ETag != head.ETag():
		return Errorf(ErrInvalid, string(id))
	}
	return nil
}

// PutObject records an object whose bytes are stored, and gives up those of the object that it
// replaces. ErrConflict when the bucket is not open here under Born; ErrDenied when the bytes were given
// up; Precondition's errors.
type PutObject struct {
	Bucket BucketName `cbor:"1,keyasint"`
	Born   uint64     `cbor:"2,keyasint"`
	Key    string     `cbor:"3,keyasint"`
	Object Object     `cbor:"4,keyasint"`
	Owed   []Owed     `cbor:"5,keyasint,omitempty"`
	Precondition
}

// Kind is the command's number in the log.
func (c *PutObject) Kind() Kind { return 1010 }

// Check decides the precondition.
func (c *PutObject) Check(v *View) error {
	if err := gateOpen(v, c.Bucket, c.Born); err != nil {
		return err
	}
	if err := notGivenUp(v, c.Object.Blob); err != nil {
		return err
	}
	return c.Precondition.Check(v, NewObjectID(c.Bucket, c.Key))
}

// Record replaces the object.
func (c *PutObject) Record(w *Writer) {
	id := NewObjectID(c.Bucket, c.Key)
	if old, ok := Objects.Get(&w.View, id); ok && !sameBlob(old.Blob, c.Object.Blob) {
		dropObject(w, id, c.Object.Modified)
	}
	Objects.Put(w, id, c.Object)
	if c.Object.Blob != nil {
		RecordOwed(w, *c.Object.Blob, c.Owed)
	}
}

// DeleteObjects removes objects of one bucket, those that exist. ErrConflict when the bucket is
// another; the Precondition's errors, on which nothing is removed.
type DeleteObjects struct {
	Bucket BucketName `cbor:"1,keyasint"`
	Born   uint64     `cbor:"2,keyasint"`
	Keys   []string   `cbor:"3,keyasint"`
	Now    int64      `cbor:"4,keyasint"` // Unix time in ms
	Precondition
}

// Kind is the command's number in the log.
func (c *DeleteObjects) Kind() Kind { return 1011 }

// Check decides the precondition. A sealed gate is no hindrance: the bucket is empty then.
func (c *DeleteObjects) Check(v *View) error {
	if g, ok := Gates.Get(v, c.Bucket); !ok || g.Born != c.Born {
		return Errorf(ErrConflict, string(c.Bucket))
	}
	for _, key := range c.Keys {
		if err := c.Precondition.Check(v, NewObjectID(c.Bucket, key)); err != nil {
			return err
		}
	}
	return nil
}

// Record removes the objects.
func (c *DeleteObjects) Record(w *Writer) {
	for _, key := range c.Keys {
		id := NewObjectID(c.Bucket, key)
		dropObject(w, id, c.Now)
		Objects.Delete(w, id)
	}
}

// SetObjectTags replaces an object's tags. ErrConflict when the bucket is another, ErrNotFound.
type SetObjectTags struct {
	Bucket BucketName        `cbor:"1,keyasint"`
	Born   uint64            `cbor:"2,keyasint"`
	Key    string            `cbor:"3,keyasint"`
	Tags   map[string]string `cbor:"4,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *SetObjectTags) Kind() Kind { return 1012 }

// Check refuses an object that is not there.
func (c *SetObjectTags) Check(v *View) error {
	if err := gateOpen(v, c.Bucket, c.Born); err != nil {
		return err
	}
	if id := NewObjectID(c.Bucket, c.Key); !Objects.Has(v, id) {
		return Errorf(ErrNotFound, string(id))
	}
	return nil
}

// Record writes the tags.
func (c *SetObjectTags) Record(w *Writer) {
	id := NewObjectID(c.Bucket, c.Key)
	o, _ := Objects.Get(&w.View, id) // Check has seen it
	o.Tags = c.Tags
	Objects.Put(w, id, o)
}

// dropObject turns the blobs of the object, if there is one, into garbage. The record itself is the
// caller's to replace or remove. now is Unix time in ms by the proposer's clock.
func dropObject(w *Writer, id ObjectID, now int64) {
	old, ok := Objects.Get(&w.View, id)
	if !ok {
		return
	}
	if old.Blob != nil {
		RecordGarbage(w, *old.Blob, now)
	}
	if old.Upload == "" {
		return
	}
	manifest, _ := Manifests.Get(&w.View, old.Upload)
	for _, part := range manifest.Parts {
		dropPart(w, part, now)
	}
	Manifests.Delete(w, old.Upload)
}

// A command whose answer was lost may be proposed and recorded again. A blob must not become garbage
// through its own second recording, nor be referred to once it is garbage.

func sameBlob(a, b *BlobRef) bool { return a != nil && b != nil && a.ID == b.ID }

func notGivenUp(v *View, blob *BlobRef) error {
	if blob != nil && garbageTable.Has(v, blob.ID.key()) {
		return Errorf(ErrDenied, blob.ID.String())
	}
	return nil
}
