package fsm

// Gate is an index group's leave to keep objects of a bucket. The control group's Bucket decides
// whether the bucket exists; a gate follows it, so that a PUT needs one commit in one group:
//
//	create:  Bucket recorded        -> gate opened in each group (or by the first request that finds none)
//	delete:  Bucket marked Deleting -> gate sealed in each group, where it must be empty
//	         -> Bucket removed      -> gates removed
//	cancel:  Bucket reopened        -> gates opened, by the next request that writes
//
// Every command to a gate carries the Rev of the Bucket that it was decided on, and an older one than
// the gate has seen is refused: so a delayed command never undoes a later decision. Gates that are gone
// are remembered by the highest Rev among them (gateFloor); a bucket older than the floor whose gate is
// missing gets a new Rev first (ReopenBucket). Each step can be repeated, by anyone.
type Gate struct {
	Meta
	Owner  AccountID `cbor:"1,keyasint"`
	Born   uint64    `cbor:"2,keyasint"`           // of the Bucket
	Seq    uint64    `cbor:"3,keyasint"`           // Rev of the Bucket when it was last opened or sealed
	Sealed bool      `cbor:"4,keyasint,omitempty"` // refuses new objects and uploads
}

// Gates are the buckets that an index group knows, by name.
var Gates = Table[BucketName, Gate]{Name: "gate"}

// gateFloors holds one record, under gateFloorKey.
var gateFloors = Table[string, gateFloor]{Name: "gatefloor"}

const gateFloorKey = "floor"

type gateFloor struct {
	Seq uint64 `cbor:"1,keyasint"`
}

var gateKinds = []KindEntry{
	{1000, Index, func() Command { return new(OpenGate) }},
	{1001, Index, func() Command { return new(SealGate) }},
	{1002, Index, func() Command { return new(RemoveGate) }},
}

// OpenGate lets a group keep objects of a bucket. ErrConflict when the group has seen a later
// decision, or when Seq is not above its floor.
type OpenGate struct {
	Name  BucketName `cbor:"1,keyasint"`
	Owner AccountID  `cbor:"2,keyasint"`
	Born  uint64     `cbor:"3,keyasint"`
	Seq   uint64     `cbor:"4,keyasint"`
}

// Kind is the command's number in the log.
func (c *OpenGate) Kind() Kind { return 1000 }

// Check refuses a stale decision.
func (c *OpenGate) Check(v *View) error { return gateAccepts(v, c.Name, c.Seq) }

// Record opens the gate.
func (c *OpenGate) Record(w *Writer) {
	Gates.Put(w, c.Name, Gate{Owner: c.Owner, Born: c.Born, Seq: c.Seq})
}

// SealGate makes a group refuse new objects and uploads of a bucket. ErrInUse when it has some;
// ErrConflict as for OpenGate.
type SealGate struct {
	Name  BucketName `cbor:"1,keyasint"`
	Owner AccountID  `cbor:"2,keyasint"`
	Born  uint64     `cbor:"3,keyasint"`
	Seq   uint64     `cbor:"4,keyasint"`
}

// Kind is the command's number in the log.
func (c *SealGate) Kind() Kind { return 1001 }

// Check refuses a stale decision and a bucket that is not empty.
func (c *SealGate) Check(v *View) error {
	if err := gateAccepts(v, c.Name, c.Seq); err != nil {
		return err
	}
	if BucketHolds(v, c.Name) {
		return Errorf(ErrInUse, string(c.Name))
	}
	return nil
}

// Record seals the gate, making it if need be.
func (c *SealGate) Record(w *Writer) {
	Gates.Put(w, c.Name, Gate{Owner: c.Owner, Born: c.Born, Seq: c.Seq, Sealed: true})
}

// RemoveGate forgets the sealed gate of a bucket that the control group has removed. ErrConflict when
// the gate belongs to a later decision.
type RemoveGate struct {
	Name BucketName `cbor:"1,keyasint"`
	Seq  uint64     `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *RemoveGate) Kind() Kind { return 1002 }

// Check refuses to remove the gate of a later bucket.
func (c *RemoveGate) Check(v *View) error {
	if g, ok := Gates.Get(v, c.Name); ok && (g.Seq > c.Seq || !g.Sealed) {
		return Errorf(ErrConflict, string(c.Name))
	}
	return nil
}

// Record removes the gate and raises the floor.
func (c *RemoveGate) Record(w *Writer) {
	Gates.Delete(w, c.Name)
	if floor, _ := gateFloors.Get(&w.View, gateFloorKey); c.Seq > floor.Seq {
		gateFloors.Put(w, gateFloorKey, gateFloor{Seq: c.Seq})
	}
}

func gateAccepts(v *View, name BucketName, seq uint64) error {
	g, ok := Gates.Get(v, name)
	if !ok {
		floor, _ := gateFloors.Get(v, gateFloorKey)
		g.Seq = floor.Seq + 1
	}
	if seq < g.Seq {
		return Errorf(ErrConflict, string(name))
	}
	return nil
}

// gateOpen refuses a write to a bucket that has no open gate here, or another bucket's of that name.
func gateOpen(v *View, name BucketName, born uint64) error {
	g, ok := Gates.Get(v, name)
	if !ok || g.Sealed || g.Born != born {
		return Errorf(ErrConflict, string(name))
	}
	return nil
}

// BucketHolds tells whether the group has an object or an upload of a bucket.
func BucketHolds(v *View, name BucketName) bool {
	inside := ObjectID(name) + "\x00"
	for range Objects.Scan(v, inside) {
		return true
	}
	for range Uploads.Scan(v, UploadKey(inside)) {
		return true
	}
	return false
}
