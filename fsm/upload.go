package fsm

import (
	"encoding/binary"
	"strings"
)

// UploadID names a multipart upload: 36 characters that sort by the time it was begun.
type UploadID string

// UploadKey is an ObjectID, a zero byte, and an UploadID: uploads sort as AWS lists them, by bucket,
// key and time of beginning.
type UploadKey string

// NewUploadKey joins its parts.
func NewUploadKey(bucket BucketName, key string, id UploadID) UploadKey {
	return UploadKey(string(NewObjectID(bucket, key)) + "\x00" + string(id))
}

// Split is the inverse of NewUploadKey.
func (k UploadKey) Split() (BucketName, string, UploadID) {
	object, id := string(k), ""
	if i := strings.LastIndexByte(object, 0); i >= 0 {
		object, id = object[:i], object[i+1:]
	}
	bucket, key := ObjectID(object).Split()
	return bucket, key, UploadID(id)
}

// Upload is a multipart upload that has been neither completed nor aborted.
type Upload struct {
	Meta
	ObjectHeaders
	Initiated int64    `cbor:"1,keyasint"`           // Unix time in ms
	Initiator string   `cbor:"2,keyasint,omitempty"` // ARN
	Sum       Checksum `cbor:"3,keyasint,omitzero"`  // algorithm and type that the object shall have
}

// PartKey is an UploadID and a part number in two bytes, big endian.
type PartKey string

// NewPartKey joins its parts.
func NewPartKey(id UploadID, number uint16) PartKey {
	return PartKey(binary.BigEndian.AppendUint16([]byte(id), number))
}

// Number is the part's number, 1 to 10000.
func (k PartKey) Number() uint16 { return binary.BigEndian.Uint16([]byte(k[len(k)-2:])) }

// Part is one part of an object that was uploaded in parts, before and after completion.
type Part struct {
	Meta
	Size     int64    `cbor:"1,keyasint,omitempty"`
	Modified int64    `cbor:"2,keyasint"` // Unix time in ms
	MD5      []byte   `cbor:"3,keyasint"`
	Sum      Checksum `cbor:"5,keyasint,omitzero"`
	Blob     *BlobRef `cbor:"10,keyasint,omitempty"` // none when it has no bytes
}

// Manifest is the parts of a completed upload, in order.
type Manifest struct {
	Meta
	Parts []Part `cbor:"1,keyasint"`
}

// Uploads, their parts, and the manifests of completed ones.
var (
	Uploads   = Table[UploadKey, Upload]{Name: "upload"}
	Parts     = Table[PartKey, Part]{Name: "part"}
	Manifests = Table[UploadID, Manifest]{Name: "manifest"}
)

var uploadKinds = []KindEntry{
	{1020, Index, func() Command { return new(CreateUpload) }},
	{1021, Index, func() Command { return new(PutPart) }},
	{1022, Index, func() Command { return new(CompleteUpload) }},
	{1023, Index, func() Command { return new(AbortUpload) }},
}

// CreateUpload begins a multipart upload. ErrConflict when the bucket is not open here under Born.
type CreateUpload struct {
	Bucket BucketName `cbor:"1,keyasint"`
	Born   uint64     `cbor:"2,keyasint"`
	Key    string     `cbor:"3,keyasint"`
	ID     UploadID   `cbor:"4,keyasint"`
	Upload Upload     `cbor:"5,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateUpload) Kind() Kind { return 1020 }

// Check refuses a bucket that is not open.
func (c *CreateUpload) Check(v *View) error { return gateOpen(v, c.Bucket, c.Born) }

// Record writes the upload.
func (c *CreateUpload) Record(w *Writer) {
	Uploads.Put(w, NewUploadKey(c.Bucket, c.Key, c.ID), c.Upload)
}

// PutPart records a part whose bytes are stored, and gives up those of the part that it replaces.
// ErrNotFound when there is no such upload, ErrDenied when the bytes were given up.
type PutPart struct {
	Bucket BucketName `cbor:"1,keyasint"`
	Key    string     `cbor:"2,keyasint"`
	ID     UploadID   `cbor:"3,keyasint"`
	Number uint16     `cbor:"4,keyasint"`
	Part   Part       `cbor:"5,keyasint"`
	Owed   []Owed     `cbor:"6,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *PutPart) Kind() Kind { return 1021 }

// Check refuses an upload that is over. Its bucket cannot have been deleted: an upload keeps it.
func (c *PutPart) Check(v *View) error {
	if err := uploadExists(v, c.Bucket, c.Key, c.ID); err != nil {
		return err
	}
	return notGivenUp(v, c.Part.Blob)
}

// Record replaces the part.
func (c *PutPart) Record(w *Writer) {
	k := NewPartKey(c.ID, c.Number)
	if old, ok := Parts.Get(&w.View, k); ok && !sameBlob(old.Blob, c.Part.Blob) {
		dropPart(w, old, c.Part.Modified)
	}
	Parts.Put(w, k, c.Part)
	if c.Part.Blob != nil {
		RecordOwed(w, *c.Part.Blob, c.Owed)
	}
}

// PartChoice is a part that a completed object consists of, as its proposer saw it.
type PartChoice struct {
	Number uint16 `cbor:"1,keyasint"`
	Rev    uint64 `cbor:"2,keyasint"`
}

// CompleteUpload makes an object of parts. Parts that it does not consist of become garbage. ErrNotFound
// when there is no such upload; ErrConflict when a part has changed; Precondition's errors.
type CompleteUpload struct {
	Bucket BucketName   `cbor:"1,keyasint"`
	Key    string       `cbor:"2,keyasint"`
	ID     UploadID     `cbor:"3,keyasint"`
	Parts  []PartChoice `cbor:"4,keyasint"`
	Object Object       `cbor:"5,keyasint"`
	Precondition
}

// Kind is the command's number in the log.
func (c *CompleteUpload) Kind() Kind { return 1022 }

// Check refuses parts other than those that the proposer saw.
func (c *CompleteUpload) Check(v *View) error {
	if err := uploadExists(v, c.Bucket, c.Key, c.ID); err != nil {
		return err
	}
	next := 0
	for k, part := range Parts.Scan(v, PartKey(c.ID)) {
		if next < len(c.Parts) && k.Number() == c.Parts[next].Number && part.Rev == c.Parts[next].Rev {
			next++
		}
	}
	if next != len(c.Parts) {
		return Errorf(ErrConflict, string(c.ID))
	}
	return c.Precondition.Check(v, NewObjectID(c.Bucket, c.Key))
}

// Record writes the object and its manifest, and ends the upload.
func (c *CompleteUpload) Record(w *Writer) {
	var manifest Manifest
	numbers, parts := endUpload(w, NewUploadKey(c.Bucket, c.Key, c.ID), c.ID)
	for i, part := range parts {
		if next := len(manifest.Parts); next < len(c.Parts) && numbers[i] == c.Parts[next].Number {
			manifest.Parts = append(manifest.Parts, part)
		} else {
			dropPart(w, part, c.Object.Modified)
		}
	}
	id := NewObjectID(c.Bucket, c.Key)
	dropObject(w, id, c.Object.Modified)
	Manifests.Put(w, c.ID, manifest)
	Objects.Put(w, id, c.Object)
}

// AbortUpload ends an upload without an object. ErrNotFound when there is no such upload.
type AbortUpload struct {
	Bucket BucketName `cbor:"1,keyasint"`
	Key    string     `cbor:"2,keyasint"`
	ID     UploadID   `cbor:"3,keyasint"`
	Now    int64      `cbor:"4,keyasint"` // Unix time in ms
}

// Kind is the command's number in the log.
func (c *AbortUpload) Kind() Kind { return 1023 }

// Check refuses an upload that is over.
func (c *AbortUpload) Check(v *View) error { return uploadExists(v, c.Bucket, c.Key, c.ID) }

// Record removes the upload and its parts.
func (c *AbortUpload) Record(w *Writer) {
	_, parts := endUpload(w, NewUploadKey(c.Bucket, c.Key, c.ID), c.ID)
	for _, part := range parts {
		dropPart(w, part, c.Now)
	}
}

func uploadExists(v *View, bucket BucketName, key string, id UploadID) error {
	if !Uploads.Has(v, NewUploadKey(bucket, key, id)) {
		return Errorf(ErrNotFound, string(id))
	}
	return nil
}

// endUpload removes an upload and its parts, and answers them in order of their numbers.
func endUpload(w *Writer, key UploadKey, id UploadID) (numbers []uint16, parts []Part) {
	for k, part := range Parts.Scan(&w.View, PartKey(id)) {
		numbers, parts = append(numbers, k.Number()), append(parts, part)
	}
	for _, n := range numbers {
		Parts.Delete(w, NewPartKey(id, n))
	}
	Uploads.Delete(w, key)
	return numbers, parts
}

func dropPart(w *Writer, part Part, now int64) {
	if part.Blob != nil {
		RecordGarbage(w, *part.Blob, now)
	}
}
