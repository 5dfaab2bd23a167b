package fsm

// BucketName names an S3 bucket, unique in the region.
type BucketName string

// Bucket is the control group's record of an S3 bucket: it decides whether the bucket exists. Index
// groups follow it by their gates. Its Rev only grows, over deletion and re-creation too, and orders
// what is said to gates.
type Bucket struct {
	Meta
	Owner    AccountID `cbor:"1,keyasint"`
	Region   string    `cbor:"2,keyasint"`
	Created  int64     `cbor:"3,keyasint"`           // Unix time in ms
	Born     uint64    `cbor:"4,keyasint"`           // Rev at creation: tells two buckets of one name apart
	Deleting bool      `cbor:"5,keyasint,omitempty"` // a deletion has begun and may be cancelled
}

// Buckets are the buckets of all accounts, by name.
var Buckets = Table[BucketName, Bucket]{Name: "bucket", Watch: watchBucket}

var bucketKinds = []KindEntry{
	{300, Control, func() Command { return new(CreateBucket) }},
	{301, Control, func() Command { return new(BeginDeleteBucket) }},
	{302, Control, func() Command { return new(ReopenBucket) }},
	{303, Control, func() Command { return new(RemoveBucket) }},
}

// CreateBucket makes a bucket. ErrExists when the name is taken, ErrLimit when the account has as many as it can.
type CreateBucket struct {
	Name    BucketName `cbor:"1,keyasint"`
	Owner   AccountID  `cbor:"2,keyasint"`
	Region  string     `cbor:"3,keyasint"`
	Created int64      `cbor:"4,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateBucket) Kind() Kind { return 300 }

// Check refuses a name that is taken.
func (c *CreateBucket) Check(v *View) error {
	if Buckets.Has(v, c.Name) {
		return Errorf(ErrExists, string(c.Name))
	}
	return checkQuota(v, c.Owner, QuotaBuckets, 1)
}

// Record writes the bucket.
func (c *CreateBucket) Record(w *Writer) {
	Buckets.Put(w, c.Name, Bucket{Owner: c.Owner, Region: c.Region, Created: c.Created, Born: w.Index()})
}

// BeginDeleteBucket marks a bucket as being deleted, which allows its gates to be sealed. Rev is that
// of the record that the deletion was decided on. ErrNotFound, ErrConflict.
type BeginDeleteBucket struct {
	Name BucketName `cbor:"1,keyasint"`
	Rev  uint64     `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *BeginDeleteBucket) Kind() Kind { return 301 }

// Check refuses a stale decision.
func (c *BeginDeleteBucket) Check(v *View) error {
	_, err := bucketAt(v, c.Name, c.Rev)
	return err
}

// Record marks the bucket.
func (c *BeginDeleteBucket) Record(w *Writer) { setDeleting(w, c.Name, true) }

// ReopenBucket cancels a deletion, and gives the bucket a new Rev, which outdates whatever was
// said to its gates before. ErrNotFound, ErrConflict.
type ReopenBucket struct {
	Name BucketName `cbor:"1,keyasint"`
	Rev  uint64     `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *ReopenBucket) Kind() Kind { return 302 }

// Check refuses a stale decision.
func (c *ReopenBucket) Check(v *View) error {
	_, err := bucketAt(v, c.Name, c.Rev)
	return err
}

// Record clears the mark.
func (c *ReopenBucket) Record(w *Writer) { setDeleting(w, c.Name, false) }

// RemoveBucket ends a deletion. Its proposer has sealed the gate of every index group under Rev, so
// the bucket is empty and stays so. ErrNotFound, ErrConflict.
type RemoveBucket struct {
	Name BucketName `cbor:"1,keyasint"`
	Rev  uint64     `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *RemoveBucket) Kind() Kind { return 303 }

// Check refuses a deletion that was cancelled or begun again.
func (c *RemoveBucket) Check(v *View) error {
	b, err := bucketAt(v, c.Name, c.Rev)
	if err == nil && !b.Deleting {
		return Errorf(ErrConflict, string(c.Name))
	}
	return err
}

// Record removes the bucket.
func (c *RemoveBucket) Record(w *Writer) { Buckets.Delete(w, c.Name) }

func bucketAt(v *View, name BucketName, rev uint64) (Bucket, error) {
	b, ok := Buckets.Get(v, name)
	switch {
	case !ok:
		return b, Errorf(ErrNotFound, string(name))
	case b.Rev != rev:
		return b, Errorf(ErrConflict, string(name))
	}
	return b, nil
}

func setDeleting(w *Writer, name BucketName, deleting bool) {
	b, _ := Buckets.Get(&w.View, name) // Check has seen it
	b.Deleting = deleting
	Buckets.Put(w, name, b)
}
