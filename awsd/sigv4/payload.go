package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What x-amz-content-sha256 may say besides a hash.
const (
	unsignedPayload   = "UNSIGNED-PAYLOAD"
	unsignedTrailer   = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingSigned   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingTrailers = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// plan is how the payload of a request is to be read.
type plan struct {
	hash     string // as the canonical request has it
	hashed   bool   // hash is the SHA-256 of the payload, in hex
	chunked  bool   // the payload is aws-chunked
	signed   bool   // each chunk has a signature
	trailers bool   // trailing headers follow the chunks
	buffered bool   // the payload is in form
	form     []byte
}

// payload finds out how the payload of r is to be read. That of a query service it reads.
func (v *Verifier) payload(r *http.Request, c *Claim, d dialect) (plan, error) {
	if d != dialectS3 {
		form, err := readForm(r)
		if err != nil {
			return plan{}, err
		}
		if len(form) == 0 {
			return plan{hash: emptyHash, buffered: true}, nil
		}
		sum := sha256.Sum256(form)
		return plan{hash: hex.EncodeToString(sum[:]), buffered: true, form: form}, nil
	}
	declared := r.Header.Get("X-Amz-Content-Sha256")
	if declared == "" && c.Form == Query {
		declared = c.values.Get("X-Amz-Content-Sha256")
	}
	if declared == "" {
		if c.Form == Header && !c.version2 {
			return plan{}, errNoContentHash()
		}
		declared = unsignedPayload
	}
	p := plan{hash: declared}
	switch declared {
	case unsignedPayload:
	case unsignedTrailer:
		p.chunked, p.trailers = true, true
	case streamingSigned:
		p.chunked, p.signed = true, true
	case streamingTrailers:
		p.chunked, p.signed, p.trailers = true, true, true
	default:
		if len(declared) != 2*sha256.Size || strings.Trim(declared, "0123456789abcdef") != "" {
			return plan{}, errContentHash(declared)
		}
		p.hashed = true
	}
	return p, nil
}

// open makes the payload's reader as planned. r's headers are then those of the decoded payload.
func (p plan) open(v *Verifier, r *http.Request, c *Claim, key signingKey) (*Body, error) {
	if p.buffered {
		n := int64(len(p.form))
		return &Body{src: bytes.NewReader(p.form), form: p.form, buffered: true, size: n, left: n}, nil
	}
	b := &Body{src: r.Body, size: r.ContentLength}
	if r.Body == nil {
		b.src = http.NoBody
	}
	if p.chunked {
		size, err := decodedLength(r)
		if err != nil {
			return nil, err
		}
		b.size = size
	}
	b.left = b.size
	if err := b.declare(r, p); err != nil {
		return nil, err
	}
	if p.chunked {
		b.chunks = &chunked{pool: &v.readers, br: v.readers.Get().(*bufio.Reader), remaining: b.size, trailing: b.trailing()}
		b.chunks.br.Reset(b.src)
		if p.signed {
			b.chunks.signer = newChunkSigner(c, key)
		}
		b.chunks.hasTrailers = p.trailers
		b.src = b.chunks
		describeDecoded(r, b.size)
	}
	return b, nil
}

// decodedLength is what the client says is the length of an aws-chunked payload once decoded.
func decodedLength(r *http.Request) (int64, error) {
	s := r.Header.Get("X-Amz-Decoded-Content-Length")
	if s == "" {
		return 0, errNoLength()
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errDecodedLength(s)
	}
	return n, nil
}

// describeDecoded makes the headers of an aws-chunked request those of its decoded payload.
func describeDecoded(r *http.Request, size int64) {
	r.ContentLength = size
	r.TransferEncoding = nil
	var kept []string
	for _, value := range r.Header["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && coding != "aws-chunked" {
				kept = append(kept, coding)
			}
		}
	}
	if kept == nil {
		delete(r.Header, "Content-Encoding")
		return
	}
	r.Header["Content-Encoding"] = []string{strings.Join(kept, ",")}
}

// Body is the payload of a verified request: a protocol.Body. What was promised about it (its length, its
// SHA-256, checksums, the signatures of its chunks and trailers) is held against it while it is read, and
// the last bytes are given out only when all of it holds, so that a reader of exactly Size bytes is as safe
// as one that reads to io.EOF. Bytes of a chunk are given out before its signature has arrived: whoever
// keeps them must not call them good before the end. It is for one goroutine.
type Body struct {
	src      io.Reader
	chunks   *chunked // src, when the payload is aws-chunked
	buffered bool     // the whole payload is in form
	form     []byte
	size     int64 // -1: the client did not say
	left     int64
	digests  []*digest
	done     error // set once nothing more is to be read
}

// Size is the decoded length in bytes, -1 when the client did not say.
func (b *Body) Size() int64 { return b.size }

// Buffered is the whole payload of a request to a query service. ok is false for S3, whose payloads stream.
func (b *Body) Buffered() (form []byte, ok bool) { return b.form, b.buffered }

// Read reads decoded payload. Errors are *protocol.Error, or the connection's.
func (b *Body) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	if b.left == 0 {
		b.done = b.finish()
		return 0, b.done
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	for _, d := range b.digests {
		d.Write(p[:n])
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	switch {
	case b.left == 0, err == io.EOF:
		b.done = b.finish()
	case err != nil:
		b.done = readError(err)
	}
	if b.done != nil && b.done != io.EOF {
		return 0, b.done
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.done
}

// finish is io.EOF when all that was promised of the payload holds.
func (b *Body) finish() error {
	if b.left > 0 {
		return errIncomplete()
	}
	if b.chunks != nil {
		if err := b.chunks.finish(); err != nil {
			return readError(err)
		}
	}
	for _, d := range b.digests {
		if err := d.check(b.chunks); err != nil {
			return err
		}
	}
	return io.EOF
}

// Checksums are, after io.EOF, the verified checksums: by algorithm as x-amz-checksum-… spells it, in base64.
func (b *Body) Checksums() map[string]string {
	sums := make(map[string]string, len(b.digests))
	if b.done != io.EOF {
		return sums
	}
	for _, d := range b.digests {
		if d.checksum != "" {
			sums[d.name] = d.checksum
		}
	}
	return sums
}

// trailing are the headers that must follow the payload.
func (b *Body) trailing() []string {
	var names []string
	for _, d := range b.digests {
		if d.trailing {
			names = append(names, checksumPrefix+d.name)
		}
	}
	return slices.Clip(names)
}
