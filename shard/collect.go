package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hive/fsm"
)

// collect deletes the blobs that the index groups led by this node have given up.
func (s *Store) collect(ctx context.Context, partly map[ID]struct{}) error {
	var errs []error
	for _, group := range s.cfg.Index {
		if group.Leader() {
			errs = append(errs, s.collectIn(ctx, group, partly))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) collectIn(ctx context.Context, group Index, partly map[ID]struct{}) error {
	var after ID
	for {
		var rows []fsm.Garbage
		err := group.View(func(v *fsm.View) error {
			fsm.GarbageFrom(v, after, func(row fsm.Garbage) bool {
				rows = append(rows, row)
				return len(rows) < maxBatch
			})
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].Ref.ID
		if err := s.collectRows(ctx, group, rows, partly); err != nil {
			return err
		}
	}
}

// collectRows deletes a batch, with one request for each node. partly remembers the blobs that
// all nodes but some that are away have deleted.
func (s *Store) collectRows(ctx context.Context, group Index, rows []fsm.Garbage, partly map[ID]struct{}) error {
	due := s.cfg.Now().Add(-s.cfg.GarbageAfter).UnixMilli()
	where := map[ID][]fsm.NodeID{}
	byNode := map[fsm.NodeID][]Deletion{}
	for _, row := range rows {
		nodes, up, err := s.placesOf(row)
		if err != nil {
			return err
		}
		if _, seen := partly[row.Ref.ID]; row.Since > due || seen && !up {
			continue
		}
		where[row.Ref.ID] = nodes
		for _, node := range nodes {
			byNode[node] = append(byNode[node], Deletion{Ref: row.Ref, Shard: WholeBlob})
		}
	}
	answered := map[fsm.NodeID]bool{}
	for node, dels := range byNode {
		err := s.deleteEverywhere(ctx, []fsm.NodeID{node}, dels)
		answered[node] = err == nil
	}
	sweep := &fsm.SweepGarbage{}
	for id, nodes := range where {
		if slices.ContainsFunc(nodes, func(n fsm.NodeID) bool { return !answered[n] }) {
			if len(partly) < maxQueued {
				partly[id] = struct{}{}
			}
			continue
		}
		delete(partly, id)
		sweep.Blobs = append(sweep.Blobs, id)
	}
	if len(sweep.Blobs) == 0 {
		return ctx.Err()
	}
	slices.SortFunc(sweep.Blobs, func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	if err := group.Propose(ctx, sweep); err != nil {
		return fmt.Errorf("sweep garbage: %w", err)
	}
	return nil
}

// placesOf is every node that may have shards of a blob that was given up, and whether all are up.
// A keeper that has left the cluster has nothing any more.
func (s *Store) placesOf(row fsm.Garbage) (nodes []fsm.NodeID, up bool, err error) {
	table, err := s.tables.get()
	if err != nil {
		return nil, false, err
	}
	p, err := table.of(row.Ref.Partition, int(row.Ref.K)+int(row.Ref.M))
	if err != nil {
		return nil, false, err
	}
	var more []fsm.NodeID
	for _, o := range row.Owed {
		for _, keeper := range o.Keepers {
			if table.has(keeper) {
				more = append(more, keeper)
			}
		}
	}
	nodes = p.everywhere(more...)
	up = !slices.ContainsFunc(nodes, func(n fsm.NodeID) bool { return n != s.cfg.Node && !s.health.up(n) })
	return nodes, up, nil
}

// has tells whether a node has partitions.
func (t *Table) has(node fsm.NodeID) bool {
	return slices.ContainsFunc(t.Rows, func(p fsm.Partition) bool {
		return slices.Contains(p.Nodes, node) || slices.Contains(p.Old, node)
	})
}

// CollectOrphans deletes this node's shards of blobs that no record refers to and that are older
// than OrphanAfter: what failed writes and crashes have left. It answers how many records it
// found.
func (s *Store) CollectOrphans(ctx context.Context) (int, error) {
	if s.cfg.Live == nil {
		return 0, nil
	}
	for _, group := range s.cfg.Index {
		if err := group.ReadIndex(ctx); err != nil {
			return 0, fmt.Errorf("live blobs: %w", err)
		}
	}
	d := s.local.disk
	young := s.cfg.Now().Add(-s.cfg.OrphanAfter)
	live := newBloom(d.usage().records)
	if err := s.cfg.Live(ctx, func(ref Ref) bool { live.add(ref.ID); return ctx.Err() == nil }); err != nil {
		return 0, fmt.Errorf("live blobs: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := s.keepGarbage(live); err != nil {
		return 0, err
	}
	found := 0
	err := d.each(func(seg *segment) error {
		orphans, err := s.orphansIn(seg, live, young)
		if err != nil || len(orphans) == 0 {
			return err
		}
		found += len(orphans)
		return s.local.delete(orphans)
	})
	if err != nil {
		return found, fmt.Errorf("orphans: %w", err)
	}
	if found > 0 {
		s.log.Info("orphaned shards deleted", "records", found)
	}
	return found, nil
}

// keepGarbage leaves to the collector what it knows of.
func (s *Store) keepGarbage(live *bloom) error {
	for _, group := range s.cfg.Index {
		err := group.View(func(v *fsm.View) error {
			fsm.GarbageFrom(v, ID{}, func(row fsm.Garbage) bool { live.add(row.Ref.ID); return true })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// orphansIn are the old blobs with records in a segment that are not live, and the old hints that
// nobody is owed any more.
func (s *Store) orphansIn(seg *segment, live *bloom, young time.Time) ([]Deletion, error) {
	orphans := map[slot]Deletion{}
	room := make([]byte, recordRoom)
	for id, p := range s.local.disk.recordsIn(seg.number) {
		of, shard := slotOf(id.id, wholeBlob, 0), uint8(wholeBlob)
		if live.has(id.id) {
			if !p.hint() {
				continue
			}
			needed, err := s.hintNeeded(id)
			if err != nil {
				return nil, err
			}
			if needed {
				continue
			}
			of, shard = slotOf(id.id, id.shard(), 0), id.shard()
		}
		h, _, err := seg.readHeader(p.off, p.length(), room)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		if err == nil && time.Unix(int64(h.seconds), 0).Before(young) {
			orphans[of] = Deletion{Ref: Ref{ID: id.id, K: h.k, M: h.m, Size: sizeUnknown}, Shard: shard}
		}
	}
	return slices.Collect(maps.Values(orphans)), nil
}

// hintNeeded tells whether some index group notes that a shard is owed to anybody.
func (s *Store) hintNeeded(id slot) (needed bool, err error) {
	for _, group := range s.cfg.Index {
		err = errors.Join(err, group.View(func(v *fsm.View) error {
			row, _ := fsm.OwedOf(v, id.id)
			needed = needed || slices.ContainsFunc(row.Owed, func(o Owed) bool { return o.Shard == id.shard() })
			return nil
		}))
	}
	return needed, err
}

// bloom is a set of blob ids that may answer yes for some that are not in it (about 1 in 400), in
// 2 bytes each. The ids are random: their own words are its hashes.
type bloom struct{ bits []uint64 }

func newBloom(records int) *bloom { return &bloom{make([]uint64, max(1024, records/4))} }

func (b *bloom) each(id ID, fn func(word, bit uint64) bool) bool {
	for i := 0; i < 16; i += 4 {
		h := uint64(binary.LittleEndian.Uint32(id[i:])) * uint64(len(b.bits)*64) >> 32
		if !fn(h/64, 1<<(h%64)) {
			return false
		}
	}
	return true
}

func (b *bloom) add(id ID) {
	b.each(id, func(word, bit uint64) bool { b.bits[word] |= bit; return true })
}

func (b *bloom) has(id ID) bool {
	return b.each(id, func(word, bit uint64) bool { return b.bits[word]&bit != 0 })
}
