package sigv4

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"net/http"
	"strings"

	"github.com/minio/crc64nvme"
)

const checksumPrefix = "x-amz-checksum-"

// digest is one running hash of the payload and what it is to come to.
type digest struct {
	hash.Hash
	name     string // as x-amz-checksum-… spells it; "" for Content-MD5 and for the signed payload hash
	checksum string // base64, from the header or the trailer
	trailing bool   // checksum comes after the payload
	payload  string // hex: x-amz-content-sha256
	md5      string // base64: Content-MD5
}

// newHash makes the hash of a checksum algorithm; nil when there is none of that name.
func newHash(name string) hash.Hash {
	switch name {
	case "crc32":
		return crc32.NewIEEE()
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "crc64nvme":
		return crc64nvme.New()
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	case "md5":
		return md5.New()
	}
	return nil
}

// declare starts a digest for everything that the headers promise of the payload.
func (b *Body) declare(r *http.Request, p plan) error {
	if p.hashed && !(p.hash == emptyHash && b.size == 0) {
		b.digests = append(b.digests, &digest{Hash: sha256.New(), payload: p.hash})
	}
	if err := b.declareTrailer(r, p); err != nil {
		return err
	}
	if r.Method != http.MethodPut && r.Method != http.MethodPost || completesUpload(r) {
		return nil
	}
	var found *digest
	for header, values := range r.Header {
		if !strings.HasPrefix(header, "X-Amz-Checksum-") {
			continue
		}
		name := strings.ToLower(header[len(checksumPrefix):])
		switch name {
		case "algorithm", "mode", "type":
			continue
		}
		d, err := newChecksum(name)
		if err != nil {
			return err
		}
		if found != nil || len(values) != 1 || b.trailing() != nil {
			return errManyChecksums()
		}
		d.checksum = values[0]
		if raw, err := base64.StdEncoding.DecodeString(d.checksum); err != nil || len(raw) != d.Size() {
			return errChecksumValue(name)
		}
		found = d
	}
	if found != nil {
		b.digests = append(b.digests, found)
		return nil
	}
	if r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") != "" && b.trailing() == nil && b.size != 0 {
		return errNoChecksum()
	}
	return nil
}

// completesUpload tells whether r is CompleteMultipartUpload, whose checksum headers speak of the object
// that comes to be and not of the request's own payload.
func completesUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.Contains(r.URL.RawQuery, "uploadId=")
}

// declareTrailer starts a digest for what x-amz-trailer announces.
func (b *Body) declareTrailer(r *http.Request, p plan) error {
	announced := r.Header.Get("X-Amz-Trailer")
	switch {
	case announced == "" && !p.trailers:
		return nil
	case announced == "":
		return errNoTrailer()
	case !p.trailers:
		return errStrayTrailer()
	}
	name, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(announced)), checksumPrefix)
	if !ok {
		return errTrailerName()
	}
	d, err := newChecksum(name)
	if err != nil {
		return err
	}
	d.trailing = true
	b.digests = append(b.digests, d)
	return nil
}

func newChecksum(name string) (*digest, error) {
	h := newHash(name)
	if h == nil {
		return nil, errChecksumAlgorithm()
	}
	return &digest{Hash: h, name: name}, nil
}

// ExpectMD5 has Read hold the payload against a Content-MD5 header. It is for operations whose handler
// does not compute the MD5 by itself, and must be called before the first Read.
// Errors: *protocol.Error InvalidDigest.
func (b *Body) ExpectMD5(contentMD5 string) error {
	raw, err := base64.StdEncoding.DecodeString(contentMD5)
	if err != nil || len(raw) != md5.Size {
		return errMD5Value()
	}
	b.digests = append(b.digests, &digest{Hash: md5.New(), md5: contentMD5})
	return nil
}

// check holds what came against what was promised. chunks are where trailers are found.
func (d *digest) check(chunks *chunked) error {
	var buf [sha512.Size]byte
	sum := d.Sum(buf[:0])
	switch {
	case d.payload != "":
		if got := hex.EncodeToString(sum); got != d.payload {
			return errPayloadHash(d.payload, got)
		}
		return nil
	case d.md5 != "":
		if base64.StdEncoding.EncodeToString(sum) != d.md5 {
			return errBadMD5()
		}
		return nil
	case d.trailing:
		d.checksum = chunks.trailers[checksumPrefix+d.name]
	}
	if base64.StdEncoding.EncodeToString(sum) != d.checksum {
		return errBadChecksum(d.name)
	}
	return nil
}
