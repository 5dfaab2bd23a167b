package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's entity tags are MD5
	"encoding/base64"
	"errors"
	"hash"
	"io"

	"hive/awsd/protocol"
	"hive/fsm"
)

const (
	// smallBody is the largest body that is read whole before it is stored.
	smallBody = 64 << 10
	// maxBody is the largest object or part that is stored at once.
	maxBody = 5 << 30
)

// upload is bytes to be stored.
type upload struct {
	body    io.Reader
	size    int64
	wantMD5 []byte     // of Content-MD5, nil when not given
	sum     *algorithm // to compute, nil for what the body verifies
}

// stored is a blob that no record refers to yet.
type stored struct {
	blob *fsm.BlobRef // nil when there are no bytes
	owed []fsm.Owed
	md5  []byte
	sum  fsm.Checksum
}

// bodyOf is the upload of a request's body.
func bodyOf(body io.Reader, length *int64, contentMD5 *string) (upload, error) {
	u := upload{body: body, size: -1}
	switch b, ok := body.(protocol.Body); {
	case body == nil:
		u.body, u.size = bytes.NewReader(nil), 0
	case ok:
		u.size = b.Size()
	case length != nil:
		u.size = *length
	}
	if u.size < 0 {
		return u, missingLength.with()
	}
	if u.size > maxBody {
		return u, entityTooLarge.with("ProposedSize", decimal(u.size), "MaxSizeAllowed", decimal(maxBody))
	}
	if contentMD5 == nil {
		return u, nil
	}
	sum, err := base64.StdEncoding.DecodeString(*contentMD5)
	if err != nil || len(sum) != md5.Size {
		return u, invalidDigest.with("Content-MD5", *contentMD5)
	}
	u.wantMD5 = sum
	return u, nil
}

// store writes a body into the blob store. Nothing is left of it when it fails.
func (s *Service) store(ctx context.Context, t target, u upload) (stored, error) {
	if u.size <= smallBody {
		return s.storeSmall(ctx, t, u)
	}
	in := &hashingReader{upload: u, ctx: ctx, md5: md5.New()}
	if u.sum != nil {
		in.extra = u.sum.new()
	}
	ref, owed, err := s.cfg.Blobs.Write(ctx, t.blobKey(), in, u.size)
	if in.err != nil && in.err != io.EOF { //nolint:errorlint // it is the reader's own
		err = in.err
	}
	if err != nil {
		return stored{}, s.blobError(ctx, t, "write", err)
	}
	out := stored{blob: &ref, owed: owed, md5: in.md5.Sum(nil), sum: in.sum()}
	if in.err == nil {
		s.discard(ctx, t, out)
		return stored{}, s.blobError(ctx, t, "write", errNotReadToEnd)
	}
	return out, nil
}

var errNotReadToEnd = errors.New("the blob store did not read the body to its end")

func (s *Service) storeSmall(ctx context.Context, t target, u upload) (stored, error) {
	buf := s.buffers.Get().(*[smallBody]byte) //nolint:forcetypeassert // see New
	defer s.buffers.Put(buf)
	in := &hashingReader{upload: u, ctx: ctx}
	n, err := io.ReadFull(in, buf[:u.size])
	if err == nil && in.err == nil {
		_, err = in.Read(nil) // the end of an empty body
	}
	if in.err != nil && in.err != io.EOF { //nolint:errorlint // it is the reader's own
		return stored{}, s.blobError(ctx, t, "read body", in.err)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReadFull's
		return stored{}, incompleteBody.with()
	}
	sum := md5.Sum(buf[:n])
	if u.wantMD5 != nil && !bytes.Equal(sum[:], u.wantMD5) {
		return stored{}, in.badMD5(sum[:])
	}
	out := stored{md5: sum[:]}
	if u.sum != nil {
		in.extra = u.sum.new()
		in.extra.Write(buf[:n])
	}
	out.sum = in.sum()
	if n == 0 {
		return out, nil
	}
	ref, owed, err := s.cfg.Blobs.Write(ctx, t.blobKey(), bytes.NewReader(buf[:n]), int64(n))
	if err != nil {
		return stored{}, s.blobError(ctx, t, "write", err)
	}
	out.blob, out.owed = &ref, owed
	return out, nil
}

// discard removes a blob that no record will refer to. What it cannot remove, the collection of
// unreferenced blobs does.
func (s *Service) discard(ctx context.Context, t target, blob stored) {
	if blob.blob == nil {
		return
	}
	if _, err := s.cfg.Blobs.Delete(context.WithoutCancel(ctx), *blob.blob); err != nil {
		s.cfg.Log.Warn("blob of a refused write stays until garbage is collected", "key", t.blobKey(), "blob", blob.blob.ID, "err", err)
	}
}

// hashingReader reads exactly the declared bytes of a body, and its end: only then has the body
// verified itself. It answers io.EOF with the last bytes, or an *protocol.Error.
type hashingReader struct {
	upload
	ctx   context.Context //nolint:containedctx // of the one request whose body it is
	md5   hash.Hash       // nil when the caller hashes
	extra hash.Hash
	read  int64
	err   error
}

// Read is io.Reader's.
func (r *hashingReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if left := r.size - r.read; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.fill(p)
	r.read += int64(n)
	if r.md5 != nil {
		r.md5.Write(p[:n])
	}
	if r.extra != nil {
		r.extra.Write(p[:n])
	}
	switch {
	case err == nil && r.read == r.size:
		r.err = r.end()
	case err == io.EOF && r.read == r.size: //nolint:errorlint // a reader's end
		r.err = r.verify()
	case err == io.EOF: //nolint:errorlint // a reader's end
		r.err = incompleteBody.with("ExpectedSize", decimal(r.size), "ReceivedSize", decimal(r.read))
	default:
		r.err = err
	}
	if r.err != nil && r.err != io.EOF { //nolint:errorlint // set above
		return 0, r.err // without its last bytes, so that no reader can overlook it
	}
	return n, r.err
}

func (r *hashingReader) fill(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	return r.body.Read(p)
}

// end asks the body for its end, which a body that fails its own verification does not give.
func (r *hashingReader) end() error {
	var one [1]byte
	for {
		n, err := r.body.Read(one[:])
		switch {
		case n > 0:
			return invalidRequest.says("The body is longer than its declared length.")
		case err == io.EOF: //nolint:errorlint // a reader's end
			return r.verify()
		case err != nil:
			return err
		}
	}
}

func (r *hashingReader) verify() error {
	if r.md5 != nil && r.wantMD5 != nil {
		if sum := r.md5.Sum(nil); !bytes.Equal(sum, r.wantMD5) {
			return r.badMD5(sum)
		}
	}
	return io.EOF
}

func (r *hashingReader) badMD5(got []byte) error {
	return badDigest.says("The Content-MD5 you specified did not match what we received.",
		"ExpectedDigest", base64.StdEncoding.EncodeToString(r.wantMD5), "CalculatedDigest", base64.StdEncoding.EncodeToString(got))
}

// sum is the checksum to keep: what the body has verified, else what was asked to be computed.
func (r *hashingReader) sum() fsm.Checksum {
	if b, ok := r.body.(protocol.Body); ok {
		if sum := keptSum(b.Checksums()); sum.Alg != 0 {
			return sum
		}
	}
	if r.extra != nil {
		return fsm.Checksum{Alg: r.upload.sum.alg, Sum: r.extra.Sum(nil)}
	}
	return fsm.Checksum{}
}
