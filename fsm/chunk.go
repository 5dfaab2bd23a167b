package fsm

// Chunk is an index group's record of a blob that belongs to volumes: a chunk of blocks, or a page or root of a map. It
// lives until no map of its lineage has it.
type Chunk struct {
	Meta
	Ref        BlobRef  `cbor:"1,keyasint"`
	Volume     VolumeID `cbor:"2,keyasint"` // that wrote it
	Generation uint64   `cbor:"3,keyasint"` // of the writer
	Seq        uint64   `cbor:"4,keyasint"` // of the map that it was written for: VolumeMap.Seq
}

// chunks are keyed by the lineage, a zero byte and the blob's id.
var chunks = Table[string, Chunk]{Name: "chunk"}

func chunkKey(lineage string, id BlobID) string { return Key(lineage, string(id[:])) }

// ChunksFrom yields the chunks of a lineage, or of all with the empty one, in order of key, beginning after the given key
// ("" for all of them), until yield answers false. The key yielded is the one to go on after.
func ChunksFrom(v *View, lineage, after string, yield func(key string, c Chunk) bool) {
	start, prefix := after, ""
	if lineage != "" {
		if prefix = Key(lineage, ""); start == "" {
			start = prefix
		}
	}
	for key, c := range chunks.From(v, start) {
		if len(key) < len(prefix) || key[:len(prefix)] != prefix {
			return
		}
		if key != after && !yield(key, c) {
			return
		}
	}
}

// LineageOf is the lineage in a key that ChunksFrom has yielded.
func LineageOf(key string) string {
	return key[:len(key)-len(BlobID{})-1]
}

var chunkKinds = []KindEntry{
	{1150, Index, func() Command { return new(RecordChunks) }},
	{1151, Index, func() Command { return new(DropChunks) }},
}

// RecordChunks notes blobs that have been written for a volume, before the map that refers to them is.
type RecordChunks struct {
	Lineage string   `cbor:"1,keyasint"`
	Chunks  []Chunk  `cbor:"2,keyasint"`
	Owed    [][]Owed `cbor:"3,keyasint,omitempty"` // of each chunk; nil when nothing is
}

// Kind is the command's number in the log.
func (c *RecordChunks) Kind() Kind { return 1150 }

// Check refuses a command that is not in itself sound.
func (c *RecordChunks) Check(*View) error {
	if c.Lineage == "" || len(c.Owed) != 0 && len(c.Owed) != len(c.Chunks) {
		return Errorf(ErrInvalid, c.Lineage)
	}
	return nil
}

// Record writes the rows, and what is owed.
func (c *RecordChunks) Record(w *Writer) {
	for i, row := range c.Chunks {
		chunks.Put(w, chunkKey(c.Lineage, row.Ref.ID), row)
		if len(c.Owed) > 0 {
			RecordOwed(w, row.Ref, c.Owed[i])
		}
	}
}

// DropChunks gives up blobs that no map has. One that is not there is passed over.
type DropChunks struct {
	Lineage string   `cbor:"1,keyasint"`
	IDs     []BlobID `cbor:"2,keyasint"`
	Now     int64    `cbor:"3,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *DropChunks) Kind() Kind { return 1151 }

// Check accepts all.
func (c *DropChunks) Check(*View) error { return nil }

// Record turns the rows into garbage.
func (c *DropChunks) Record(w *Writer) {
	for _, id := range c.IDs {
		if row, ok := chunks.Get(&w.View, chunkKey(c.Lineage, id)); ok {
			chunks.Delete(w, chunkKey(c.Lineage, id))
			RecordGarbage(w, row.Ref, c.Now)
		}
	}
}
