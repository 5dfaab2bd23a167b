package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An aws-chunked payload is
//
//	{ size-in-hex [";chunk-signature=" 64 hex] CRLF  bytes CRLF }
//	"0"           [";chunk-signature=" 64 hex] CRLF
//	{ name ":" value CRLF }  [ "x-amz-trailer-signature:" 64 hex CRLF ]
//	CRLF
//
// each signature covering the one before it, beginning with the request's own.

const (
	minChunk        = 8192 // every chunk but the last is this large, S3 says
	maxTrailers     = 16
	chunkSignature  = "chunk-signature="
	trailerSigned   = "x-amz-trailer-signature"
	chunkAlgorithm  = "AWS4-HMAC-SHA256-PAYLOAD"
	trailAlgorithm  = "AWS4-HMAC-SHA256-TRAILER"
	maxChunkSizeHex = 16
)

// chunked decodes an aws-chunked payload as it streams by. Nothing of it is held back: memory is one line
// of framing, however large a chunk says it is.
type chunked struct {
	pool        *sync.Pool    // where br goes back to
	br          *bufio.Reader // nil once ended
	signer      *chunkSigner  // nil: chunks have no signatures
	hasTrailers bool
	trailing    []string          // trailers that must come, in lower case
	trailers    map[string]string // that came
	remaining   int64             // decoded bytes still to be announced
	left        int64             // bytes of the current chunk still to be read
	size        int64             // of the current chunk
	claimed     string            // its signature
	ended       bool
}

// Read reads decoded bytes; io.EOF only after the last trailer was verified.
func (k *chunked) Read(p []byte) (int, error) {
	for k.left == 0 {
		if k.ended {
			return 0, io.EOF
		}
		if err := k.next(); err != nil {
			return 0, err
		}
	}
	n, err := k.br.Read(p[:min(int64(len(p)), k.left)])
	k.left -= int64(n)
	if k.signer != nil {
		k.signer.data.Write(p[:n])
	}
	if err == nil && k.left == 0 {
		err = k.endChunk()
	}
	if err != nil {
		return 0, noEOF(err)
	}
	return n, nil
}

// finish reads what follows the last byte of data.
func (k *chunked) finish() error {
	for !k.ended {
		if err := k.next(); err != nil {
			return err
		}
	}
	return nil
}

// next reads the line that opens a chunk; with the one of size 0, all that follows it.
func (k *chunked) next() error {
	line, err := k.line()
	if err != nil {
		return err
	}
	size, rest, signed := bytes.Cut(line, []byte{';'})
	if len(size) == 0 || len(size) > maxChunkSizeHex {
		return errFraming("the size of a chunk is not a number")
	}
	n, err := strconv.ParseUint(string(size), 16, 63)
	if err != nil {
		return errFraming("the size of a chunk is not a number")
	}
	if k.signer != nil {
		claimed, ok := bytes.CutPrefix(rest, []byte(chunkSignature))
		if !signed || !ok {
			return errFraming("a chunk has no chunk-signature")
		}
		k.claimed = string(claimed)
	}
	switch {
	case n == 0:
		return k.end()
	case int64(n) > k.remaining:
		return errTooMuch()
	case k.size > 0 && k.size < minChunk:
		return errSmallChunk()
	}
	k.size, k.left = int64(n), int64(n)
	k.remaining -= int64(n)
	return nil
}

// endChunk reads the line break after a chunk's bytes and verifies them.
func (k *chunked) endChunk() error {
	var crlf [2]byte
	if _, err := io.ReadFull(k.br, crlf[:]); err != nil {
		return noEOF(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return errFraming("a chunk does not end where its size says")
	}
	if k.signer != nil {
		return k.signer.verifyChunk(k.claimed)
	}
	return nil
}

// end verifies the closing chunk, reads the trailers, and makes sure that nothing follows.
func (k *chunked) end() error {
	if k.signer != nil {
		if err := k.signer.verifyChunk(k.claimed); err != nil {
			return err
		}
	}
	if k.remaining > 0 {
		return errIncomplete()
	}
	if err := k.readTrailers(); err != nil {
		return err
	}
	switch _, err := k.br.ReadByte(); {
	case err == nil:
		return errFraming("something follows its end")
	case err != io.EOF:
		return err
	}
	k.ended = true
	k.br.Reset(nil)
	k.pool.Put(k.br)
	k.br = nil
	return nil
}

// readTrailers reads trailing headers up to the empty line, or to the end of the payload: some clients
// leave the empty line out, and some put one before the trailers too.
func (k *chunked) readTrailers() error {
	var text []byte // what a trailer signature covers
	signature := ""
	for lines := 0; ; lines++ {
		line, err := k.line()
		if errors.Is(err, io.ErrUnexpectedEOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			if lines == 0 && len(k.trailing) > 0 {
				continue
			}
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || lines > maxTrailers {
			return errTrailers()
		}
		if name == trailerSigned {
			signature = value
			continue
		}
		if err := k.keepTrailer(name, value); err != nil {
			return err
		}
		text = append(append(append(append(text, name...), ':'), value...), '\n')
	}
	if len(k.trailers) != len(k.trailing) {
		return errTrailers()
	}
	if k.signer != nil && k.hasTrailers {
		return k.signer.verify(trailAlgorithm, text, signature)
	}
	return nil
}

// keepTrailer keeps a trailer that was announced.
func (k *chunked) keepTrailer(name, value string) error {
	if _, twice := k.trailers[name]; twice || !slices.Contains(k.trailing, name) {
		return errTrailers()
	}
	if k.trailers == nil {
		k.trailers = make(map[string]string)
	}
	k.trailers[name] = value
	return nil
}

// line reads one line of framing, without its line break. It is good until the next read. At the end of the
// payload the error is io.ErrUnexpectedEOF, with what there was of a line.
func (k *chunked) line() ([]byte, error) {
	line, err := k.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errFraming("a line of its framing is too long")
	case err != nil:
		return line, noEOF(err)
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// noEOF makes the end of the payload, where more must come, an error.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// chunkSigner computes the chain of chunk signatures.
type chunkSigner struct {
	key      signingKey
	data     hash.Hash // of the current chunk
	stamp    string
	scope    string
	previous string
	text     []byte
}

func newChunkSigner(c *Claim, key signingKey) *chunkSigner {
	return &chunkSigner{key: key, data: sha256.New(), stamp: c.stamp, scope: c.scope(), previous: c.signature}
}

// verifyChunk verifies the signature of the chunk whose bytes went through data.
func (s *chunkSigner) verifyChunk(claimed string) error {
	var sum [sha256.Size]byte
	s.data.Sum(sum[:0])
	s.data.Reset()
	s.head(chunkAlgorithm)
	s.text = append(append(s.text, emptyHash...), '\n')
	return s.compare(sum, claimed)
}

// verify verifies a signature over text itself.
func (s *chunkSigner) verify(algorithm string, text []byte, claimed string) error {
	s.head(algorithm)
	return s.compare(sha256.Sum256(text), claimed)
}

// head begins a string to sign.
func (s *chunkSigner) head(algorithm string) {
	s.text = s.text[:0]
	for _, line := range [...]string{algorithm, s.stamp, s.scope, s.previous} {
		s.text = append(append(s.text, line...), '\n')
	}
}

// compare ends the string to sign with a hash and verifies the signature claimed for it.
func (s *chunkSigner) compare(sum [sha256.Size]byte, claimed string) error {
	s.text = hex.AppendEncode(s.text, sum[:])
	if !s.key.signed(s.text, claimed) {
		return errChunkSignature()
	}
	s.previous = claimed
	return nil
}
