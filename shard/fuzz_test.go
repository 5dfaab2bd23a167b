package shard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
	"hive/internal/vfs"
)

// segmentBytes is a small segment file.
func segmentBytes(t testing.TB) []byte {
	fs := vfs.NewMem(1 << 30)
	d := mustOpen(t, fs)
	for i, n := range []int{10, 2000, 1} {
		if err := d.putSync(makeRecord(d.cfg.pools, testID(i), 0, 0, true, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.deleteSync(deletion{id: testID(0), shard: wholeBlob, k: 2, m: 1, size: 10}); err != nil {
		t.Fatal(err)
	}
	b, err := vfs.ReadFile(fs, "/shards/"+segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever lies in a segment file and its sidecar, opening it and reading what it says it has does
// not panic, and answers right bytes or an error.
func FuzzSegment(f *testing.F) {
	seg := segmentBytes(f)
	f.Add(seg, []byte{}, true)
	f.Add(seg[:len(seg)-3], []byte{}, false)
	f.Add(slices.Concat(seg, seg[fileHeaderSize:]), []byte("hiveidx\n"), true)
	f.Fuzz(func(t *testing.T, segment, sidecar []byte, last bool) {
		fs := vfs.NewMem(1 << 30)
		if err := fs.MkdirAll("/shards"); err != nil {
			t.Fatal(err)
		}
		plant(t, fs, "/shards/"+segmentName(1), segment)
		plant(t, fs, "/shards/"+sidecarName(1), sidecar)
		if !last {
			plant(t, fs, "/shards/"+segmentName(2), segment)
		}
		d, err := openDisk(testDiskConfig(t, fs))
		if err != nil {
			return
		}
		for s, p := range d.index {
			from := int64(s.seq()) * groupSize
			if p.length() == 0 {
				continue
			}
			_, err := readShard(d, s.id, s.shard(), from, from+int64(p.length()))
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
		}
		if err := d.putSync(makeRecord(d.cfg.pools, testID(77), 0, 0, true, 10)); err != nil {
			t.Fatal(err)
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// sealed makes a record with right checksums of a header's bytes.
func sealed(b []byte, where at) []byte {
	head := slices.Clone(b[:recordHeaderSize])
	copy(head, recordMagic)
	binary.LittleEndian.PutUint32(head[80:], binary.LittleEndian.Uint32(head[80:])%300)
	h, err := parseLength(head)
	if err != nil {
		return head
	}
	payload := make([]byte, h.length)
	for range h.blocks() {
		head = binary.LittleEndian.AppendUint32(head, checksum(payload))
	}
	binary.LittleEndian.PutUint32(head[100:], headerSum(head, where))
	out := append(head, payload...)
	return append(out, make([]byte, align(len(out))-len(out))...)
}

// Whatever fields the records of a segment have, it is opened, read, deleted from and compacted
// without a panic.
func FuzzSealedRecords(f *testing.F) {
	seg := segmentBytes(f)
	f.Add(seg[fileHeaderSize : fileHeaderSize+recordHeaderSize])
	f.Add(bytes.Repeat(seg[fileHeaderSize:fileHeaderSize+recordHeaderSize], 3))
	f.Fuzz(func(t *testing.T, headers []byte) {
		fs := vfs.NewMem(1 << 30)
		if err := fs.MkdirAll("/shards"); err != nil {
			t.Fatal(err)
		}
		file := make([]byte, fileHeaderSize)
		head := fileHeader{at: at{number: 1, nonce: [8]byte{1}}, node: "n-a"}
		if err := head.put(file); err != nil {
			t.Fatal(err)
		}
		for ; len(headers) >= recordHeaderSize; headers = headers[recordHeaderSize:] {
			file = append(file, sealed(headers, at{head.nonce, 1, uint32(len(file))})...)
		}
		plant(t, fs, "/shards/"+segmentName(1), file)
		d, err := openDisk(testDiskConfig(t, fs))
		if err != nil {
			t.Fatal(err)
		}
		for s := range d.index {
			d.holds(s.id)
			d.refOf(s, 16)
			if err := d.deleteSync(deletion{id: s.id, shard: wholeBlob, k: 2, m: 1, size: sizeUnknown}); err != nil {
				t.Fatal(err)
			}
		}
		d.cfg.segmentSize = 1
		if err := d.putSync(makeRecord(d.cfg.pools, testID(77), 0, 0, true, 10)); err != nil {
			t.Fatal(err)
		}
		if err := d.compact(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
}

func plant(t testing.TB, fs vfs.FS, name string, content []byte) {
	t.Helper()
	file, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

// Whatever a peer sends, the handler answers or breaks off, and stores nothing that does not match
// its checksums.
func FuzzHandler(f *testing.F) {
	p := makeRecord(&pools{}, testID(1), 1, 0, true, 100)
	f.Add("put", slices.Concat(putHead(p), p.payload()))
	f.Add("delete", encodeDeletions([]Deletion{{Ref: Ref{ID: testID(1), K: 2, M: 1, Size: 100}, Shard: WholeBlob}}))
	f.Add("held", encodeIDs([]ID{testID(1), testID(2)}))
	f.Add("mend", encodeDeletions([]Deletion{{Ref: Ref{ID: testID(1), K: 2, M: 1, Size: 100}}}))
	f.Add("seal", slices.Concat(putHead(p), p.payload()))
	f.Add("get/"+testID(1).String()+"/1/0/100", []byte{})
	f.Add("get/"+testID(1).String()+"/1/0/9223372036854775807", []byte{})
	f.Add("ping", []byte{})
	r := newRig(f, 1)
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if strings.HasPrefix(path, "seal") && len(body) >= recordHeaderSize { // with right checksums, to get further
			path, body = "put", sealed(body, at{})
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://x/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Path = "/shard/" + path
		r.stores["n-a"].Handler().ServeHTTP(httptest.NewRecorder(), req)
		r.stores["n-a"].mendQueued(t.Context())
		report, err := r.stores["n-a"].Scrub(t.Context())
		if err != nil || report.Rotten > 0 {
			t.Fatalf("%+v %v", report, err)
		}
	})
}

// cannedPeer answers every request with the same bytes.
type cannedPeer []byte

func (c cannedPeer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c)), Request: r}, nil
}

// Whatever a peer answers, the client answers right bytes or an error.
func FuzzClient(f *testing.F) {
	var answer bytes.Buffer
	buf := (&pools{}).get(100)
	copy(buf.payload(100), random(1, 100))
	if err := sendPiece(&answer, buf, buf.b[recordRoom:recordRoom+100]); err != nil {
		f.Fatal(err)
	}
	f.Add(answer.Bytes(), int64(0), int64(100))
	f.Add([]byte{1, 0, 0, 0x80, 0, 0, 0, 0}, int64(5), int64(100))
	f.Add(encodeHeld([][]Held{{{Shard: 1, Records: 2, Whole: true}}, nil}), int64(0), int64(1))
	f.Fuzz(func(t *testing.T, answer []byte, from, to int64) {
		peers := NewHTTPPeers(&http.Client{Transport: cannedPeer(answer)})
		if held, err := peers.Held(t.Context(), "n-b", []ID{{}}); err == nil && !bytes.Equal(encodeHeld(held)[:1], answer[:1]) && len(held) > 0 {
			t.Fatalf("%v", held)
		}
		if from < 0 || to <= from || to > 1<<40 {
			return
		}
		pieces, err := peers.Get(t.Context(), "n-b", Get{Shard: 1, From: from, To: to})
		if err != nil {
			t.Fatal(err)
		}
		room := make([]byte, PieceRoom)
		for range 4 {
			piece, err := pieces.Next(room)
			if err != nil {
				break
			}
			if !bytes.Contains(answer, piece) {
				t.Fatal("bytes that nobody sent")
			}
		}
		if err := pieces.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// flipping changes one byte of every answer body behind the first so many.
type flipping struct {
	http.RoundTripper
	at int
}

func (f flipping) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.RoundTripper.RoundTrip(r)
	if err == nil && strings.Contains(r.URL.Path, "/get/") {
		resp.Body = &flippedBody{resp.Body, f.at}
	}
	return resp, err
}

type flippedBody struct {
	io.ReadCloser
	left int
}

func (b *flippedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 && b.left < n {
		p[b.left] ^= 4
	}
	b.left -= n
	return n, err
}

func TestBytesThatTheNetworkChangedAreNotAnswered(t *testing.T) {
	r := newRig(t, 3, overHTTP)
	data := random(1, 500_000)
	ref := r.put("n-a", "k", data)
	for _, at := range []int{0, 3, 4, 7, 8, 5000, 70_000, 200_000} {
		inner := r.peers().(HTTPPeers)
		s := r.stores["n-a"]
		was := s.cfg.Peers
		s.cfg.Peers = onlyFrom{was, NewHTTPPeers(&http.Client{Transport: flipping{inner.client.Transport, at}})}
		r.check("n-a", ref, data)
		s.cfg.Peers = was
		s.health.restore("n-b")
	}
}

// onlyFrom reaches n-b by another way than the rest.
type onlyFrom struct {
	Peers
	b Peers
}

func (o onlyFrom) Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	if node == "n-b" {
		return o.b.Get(ctx, node, g)
	}
	return o.Peers.Get(ctx, node, g)
}
