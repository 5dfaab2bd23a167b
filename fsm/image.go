package fsm

// ImageID is "ami-" and 17 hex digits, unique in the cluster and never used again.
type ImageID string

// BlockMapping is a device of an image.
type BlockMapping struct {
	Device              string     `cbor:"1,keyasint"`           // "/dev/sda1"
	Snapshot            SnapshotID `cbor:"2,keyasint,omitempty"` // none: an empty volume
	Size                int64      `cbor:"3,keyasint"`           // GiB
	Type                string     `cbor:"4,keyasint"`           // "gp3"
	DeleteOnTermination bool       `cbor:"5,keyasint,omitempty"`
	IOPS                int32      `cbor:"6,keyasint,omitempty"`
	Throughput          int32      `cbor:"7,keyasint,omitempty"` // MiB/s
}

// Image is a machine image: snapshots and how to boot from them.
type Image struct {
	Meta
	ID          ImageID        `cbor:"1,keyasint"`
	Account     AccountID      `cbor:"2,keyasint"`
	Name        string         `cbor:"3,keyasint"` // unique in the account
	Description string         `cbor:"4,keyasint,omitempty"`
	Arch        string         `cbor:"5,keyasint"` // x86_64, arm64
	BootMode    string         `cbor:"6,keyasint"` // uefi, legacy-bios
	RootDevice  string         `cbor:"7,keyasint"`
	Mappings    []BlockMapping `cbor:"8,keyasint"`
	Created     int64          `cbor:"9,keyasint"` // Unix ms
	Public      bool           `cbor:"10,keyasint,omitempty"`
	Source      InstanceID     `cbor:"11,keyasint,omitempty"` // CreateImage: the instance
	TokensOnly  bool           `cbor:"12,keyasint,omitempty"` // ImdsSupport v2.0
	Users       []AccountID    `cbor:"13,keyasint,omitempty"` // other accounts that may launch it
}

// KeyPair is the public half of a key that guests are given.
type KeyPair struct {
	Meta
	ID          string    `cbor:"1,keyasint"` // "key-…"
	Account     AccountID `cbor:"2,keyasint"`
	Name        string    `cbor:"3,keyasint"`
	Type        string    `cbor:"4,keyasint"` // rsa, ed25519
	Fingerprint string    `cbor:"5,keyasint"`
	PublicKey   string    `cbor:"6,keyasint"` // an OpenSSH line
	Created     int64     `cbor:"7,keyasint"` // Unix ms
}

// ImportTask is the import of a disk file, as an image or as a snapshot.
type ImportTask struct {
	Meta
	ID          string     `cbor:"1,keyasint"` // "import-ami-…", "import-snap-…"
	Account     AccountID  `cbor:"2,keyasint"`
	Node        NodeID     `cbor:"3,keyasint"` // that carries it out
	Status      string     `cbor:"4,keyasint"` // active, completed, deleted (EC2's word for failed)
	Progress    int        `cbor:"5,keyasint,omitempty"`
	Message     string     `cbor:"6,keyasint,omitempty"`
	Format      string     `cbor:"7,keyasint,omitempty"` // RAW, QCOW2, VMDK, VHD
	Bucket      string     `cbor:"8,keyasint"`
	Key         string     `cbor:"9,keyasint"`
	Description string     `cbor:"10,keyasint,omitempty"`
	Arch        string     `cbor:"11,keyasint,omitempty"`
	BootMode    string     `cbor:"12,keyasint,omitempty"`
	Size        int64      `cbor:"13,keyasint,omitempty"` // bytes of the disk
	Snapshot    SnapshotID `cbor:"14,keyasint,omitempty"`
	Image       ImageID    `cbor:"15,keyasint,omitempty"` // of an image's import
	Created     int64      `cbor:"16,keyasint"`           // Unix ms
	Tags        []Tag      `cbor:"17,keyasint,omitempty"`
}

// Tables of the control group about images, keys and imports.
var (
	Images      = Table[ImageID, Image]{Name: "image", Watch: watchImage}
	ImportTasks = Table[string, ImportTask]{Name: "import-task"}

	imageNames = Table[string, ImageID]{Name: "image-name"}                    // account, zero byte, name
	keyPairs   = Table[string, KeyPair]{Name: "key-pair", Watch: watchKeyPair} // account, zero byte, name
)

var imageKinds = []KindEntry{
	{550, Control, func() Command { return new(RegisterImage) }},
	{551, Control, func() Command { return new(DeregisterImage) }},
	{552, Control, func() Command { return new(PutKeyPair) }},
	{553, Control, func() Command { return new(DeleteKeyPair) }},
	{554, Control, func() Command { return new(PutImportTask) }},
	{555, Control, func() Command { return new(ModifyImage) }},
}

// ImageNamed is the account's image of a name.
func ImageNamed(v *View, account AccountID, name string) (Image, bool) {
	id, ok := imageNames.Get(v, Key(string(account), name))
	if !ok {
		return Image{}, false
	}
	return Images.Get(v, id)
}

// KeyPairNamed is the account's key pair of a name.
func KeyPairNamed(v *View, account AccountID, name string) (KeyPair, bool) {
	return keyPairs.Get(v, Key(string(account), name))
}

// KeyPairsOf are an account's key pairs in order of name.
func KeyPairsOf(v *View, account AccountID) []KeyPair {
	var out []KeyPair
	for _, k := range keyPairs.Scan(v, Key(string(account), "")) {
		out = append(out, k)
	}
	return out
}

// RegisterImage makes an image of snapshots.
type RegisterImage struct {
	Image Image        `cbor:"1,keyasint"`
	Tags  []Tag        `cbor:"2,keyasint,omitempty"`
	Once  *ClientToken `cbor:"3,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *RegisterImage) Kind() Kind { return 550 }

// Check refuses a name that is taken (ErrExists), an id or a client token that is (ErrConflict), and snapshots that are
// none of the account's (ErrNotFound).
func (c *RegisterImage) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	switch {
	case imageNames.Has(v, Key(string(c.Image.Account), c.Image.Name)):
		return Errorf(ErrExists, c.Image.Name)
	case Images.Has(v, c.Image.ID):
		return Errorf(ErrConflict, string(c.Image.ID))
	}
	if err := checkQuota(v, c.Image.Account, QuotaImages, 1); err != nil {
		return err
	}
	for _, m := range c.Image.Mappings {
		if s, ok := Snapshots.Get(v, m.Snapshot); m.Snapshot != "" && (!ok || s.Account != c.Image.Account) {
			return Errorf(ErrNotFound, string(m.Snapshot))
		}
	}
	return nil
}

// Record writes the image.
func (c *RegisterImage) Record(w *Writer) {
	Images.Put(w, c.Image.ID, c.Image)
	imageNames.Put(w, Key(string(c.Image.Account), c.Image.Name), c.Image.ID)
	putTags(w, c.Image.Account, string(c.Image.ID), c.Tags)
	c.Once.put(w)
}

// DeregisterImage removes an image; its snapshots stay.
type DeregisterImage struct {
	ID      ImageID   `cbor:"1,keyasint"`
	Account AccountID `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeregisterImage) Kind() Kind { return 551 }

// Check refuses one that is none of the account's (ErrNotFound).
func (c *DeregisterImage) Check(v *View) error {
	if i, ok := Images.Get(v, c.ID); !ok || i.Account != c.Account {
		return Errorf(ErrNotFound, string(c.ID))
	}
	return nil
}

// Record removes the image.
func (c *DeregisterImage) Record(w *Writer) {
	i, _ := Images.Get(&w.View, c.ID)
	Images.Delete(w, c.ID)
	imageNames.Delete(w, Key(string(i.Account), i.Name))
	resourceTags.Delete(w, string(c.ID))
}

// ModifyImage changes who may launch an image, and its description.
type ModifyImage struct {
	ID          ImageID     `cbor:"1,keyasint"`
	Account     AccountID   `cbor:"2,keyasint"`
	Rev         uint64      `cbor:"3,keyasint"` // of the record that the decision was made on
	Description string      `cbor:"4,keyasint,omitempty"`
	Public      bool        `cbor:"5,keyasint,omitempty"`
	Users       []AccountID `cbor:"6,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *ModifyImage) Kind() Kind { return 555 }

// Check refuses one that is none of the account's (ErrNotFound) or has changed (ErrConflict).
func (c *ModifyImage) Check(v *View) error {
	i, ok := Images.Get(v, c.ID)
	switch {
	case !ok || i.Account != c.Account:
		return Errorf(ErrNotFound, string(c.ID))
	case i.Rev != c.Rev:
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record writes the image.
func (c *ModifyImage) Record(w *Writer) {
	i, _ := Images.Get(&w.View, c.ID)
	i.Description, i.Public, i.Users = c.Description, c.Public, c.Users
	Images.Put(w, c.ID, i)
}

// PutKeyPair adds a key pair.
type PutKeyPair struct {
	Key  KeyPair `cbor:"1,keyasint"`
	Tags []Tag   `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *PutKeyPair) Kind() Kind { return 552 }

// Check refuses a name that is taken (ErrExists).
func (c *PutKeyPair) Check(v *View) error {
	if keyPairs.Has(v, Key(string(c.Key.Account), c.Key.Name)) {
		return Errorf(ErrExists, c.Key.Name)
	}
	return checkQuota(v, c.Key.Account, QuotaKeyPairs, 1)
}

// Record writes the key.
func (c *PutKeyPair) Record(w *Writer) {
	keyPairs.Put(w, Key(string(c.Key.Account), c.Key.Name), c.Key)
	putTags(w, c.Key.Account, c.Key.ID, c.Tags)
}

// DeleteKeyPair removes a key pair; guests that have it keep it.
type DeleteKeyPair struct {
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteKeyPair) Kind() Kind { return 553 }

// Check refuses one that is none (ErrNotFound).
func (c *DeleteKeyPair) Check(v *View) error {
	if !keyPairs.Has(v, Key(string(c.Account), c.Name)) {
		return Errorf(ErrNotFound, c.Name)
	}
	return nil
}

// Record removes the key.
func (c *DeleteKeyPair) Record(w *Writer) {
	k, _ := KeyPairNamed(&w.View, c.Account, c.Name)
	keyPairs.Delete(w, Key(string(c.Account), c.Name))
	resourceTags.Delete(w, k.ID)
}

// PutImportTask makes an import's record, with Rev 0, or replaces it as of Rev.
type PutImportTask struct {
	Task ImportTask   `cbor:"1,keyasint"`
	Rev  uint64       `cbor:"2,keyasint,omitempty"`
	Once *ClientToken `cbor:"3,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *PutImportTask) Kind() Kind { return 554 }

// Check refuses a stale decision, and a client token that is taken (ErrConflict).
func (c *PutImportTask) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	if t, _ := ImportTasks.Get(v, c.Task.ID); t.Rev != c.Rev {
		return Errorf(ErrConflict, c.Task.ID)
	}
	return nil
}

// Record writes the task.
func (c *PutImportTask) Record(w *Writer) {
	ImportTasks.Put(w, c.Task.ID, c.Task)
	if c.Rev == 0 {
		putTags(w, c.Task.Account, c.Task.ID, c.Task.Tags)
	}
	c.Once.put(w)
}
