package sigv4

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// scratch is the memory that a canonical request is built in, used again and again.
type scratch struct {
	text  []byte
	query []byte
	pairs []pair
}

// pair is one query parameter: ranges of scratch.query.
type pair struct{ name, equals, end int }

// rules are how a service wants the path to be canonical.
type rules struct {
	normalize bool // dot segments and double slashes are resolved
	twice     bool // what was escaped on the wire is escaped once more
}

var (
	rulesS3    = rules{}
	rulesQuery = rules{normalize: true, twice: true}
)

// checkSignature computes the signature of a request and compares.
func (v *Verifier) checkSignature(r *http.Request, c *Claim, d dialect, payloadHash string, key signingKey) error {
	s := v.scratch.Get().(*scratch)
	defer v.scratch.Put(s)
	how := rulesQuery
	if d == dialectS3 {
		how = rulesS3
	}
	s.canonicalRequest(r, c, how, payloadHash)
	n := len(s.text)
	s.stringToSign(c)
	if !key.signed(s.text[n:], c.signature) {
		return d.mismatch(c, s.text[n:], s.text[:n])
	}
	if d == dialectS3 {
		return checkUnsigned(r, c)
	}
	return nil
}

// canonicalRequest writes the canonical request into s.text.
func (s *scratch) canonicalRequest(r *http.Request, c *Claim, how rules, payloadHash string) {
	b := append(s.text[:0], r.Method...)
	b = append(b, '\n')
	b = appendPath(b, r, how)
	b = append(b, '\n')
	b = s.appendQuery(b, r.URL.RawQuery, c.Form == Query)
	b = append(b, '\n')
	for name := range strings.SplitSeq(c.signedHeaders, ";") {
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, c.signedHeaders...)
	b = append(b, '\n')
	s.text = append(b, payloadHash...)
}

// stringToSign appends the string to sign for the canonical request that s.text holds.
func (s *scratch) stringToSign(c *Claim) {
	sum := sha256.Sum256(s.text)
	b := append(s.text, algorithm+"\n"...)
	b = append(b, c.stamp...)
	b = append(b, '\n')
	b = appendScope(b, c)
	b = append(b, '\n')
	s.text = hex.AppendEncode(b, sum[:])
}

func appendScope(b []byte, c *Claim) []byte {
	for _, part := range [...]string{c.Date, c.Region, c.Service} {
		b = append(b, part...)
		b = append(b, '/')
	}
	return append(b, terminator...)
}

// appendPath appends the canonical URI.
func appendPath(b []byte, r *http.Request, how rules) []byte {
	path := r.URL.Path
	if how.twice {
		path = r.URL.EscapedPath()
	}
	if how.normalize {
		path = normalPath(path)
	}
	if path == "" {
		path = "/"
	}
	for i := range len(path) {
		b = appendEscaped(b, path[i], true)
	}
	return b
}

// normalPath resolves dot segments and joins runs of slashes (RFC 3986, section 6.2.2.3, as AWS does it).
func normalPath(path string) string {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, segment)
		}
	}
	normal := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(path, "/") {
		normal += "/"
	}
	return normal
}

// appendQuery appends the canonical query string: every name and value decoded and escaped in AWS's way,
// in order of name and then value. A presigned URL's own signature is left out.
func (s *scratch) appendQuery(b []byte, raw string, presigned bool) []byte {
	if raw == "" {
		return b
	}
	s.query, s.pairs = s.query[:0], s.pairs[:0]
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" || presigned && strings.HasPrefix(part, "X-Amz-Signature=") {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		p := pair{name: len(s.query)}
		s.query = appendReescaped(s.query, name)
		p.equals = len(s.query)
		s.query = appendReescaped(append(s.query, '='), value)
		p.end = len(s.query)
		s.pairs = append(s.pairs, p)
	}
	q := s.query
	slices.SortFunc(s.pairs, func(x, y pair) int {
		if n := bytes.Compare(q[x.name:x.equals], q[y.name:y.equals]); n != 0 {
			return n
		}
		return bytes.Compare(q[x.equals:x.end], q[y.equals:y.end])
	})
	for i, p := range s.pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, q[p.name:p.end]...)
	}
	return b
}

// appendReescaped decodes s as a part of a query string and escapes it as AWS does.
func appendReescaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		ch := s[i]
		switch {
		case ch == '+':
			ch = ' '
		case ch == '%' && i+2 < len(s):
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				ch = byte(n)
				i += 2
			}
		}
		b = appendEscaped(b, ch, false)
	}
	return b
}

const upperHex = "0123456789ABCDEF"

// appendEscaped appends a byte as AWS's UriEncode does: unreserved characters as they are.
func appendEscaped(b []byte, ch byte, slash bool) []byte {
	switch {
	case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
		ch == '-', ch == '_', ch == '.', ch == '~', ch == '/' && slash:
		return append(b, ch)
	}
	return append(b, '%', upperHex[ch>>4], upperHex[ch&15])
}

// appendHeader appends the canonical value of a header: values joined by commas, each trimmed, and runs of
// spaces within made one.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host", ":authority":
		return appendTrimmed(b, r.Host)
	case "content-length":
		if _, ok := r.Header["Content-Length"]; !ok && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding": // net/http takes it out of the headers
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	for i, value := range headerValues(r.Header, name) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, value)
	}
	return b
}

func appendTrimmed(b []byte, value string) []byte {
	value = strings.TrimSpace(value)
	for i := range len(value) {
		if value[i] == ' ' && value[i-1] == ' ' {
			continue
		}
		b = append(b, value[i])
	}
	return b
}

// headerValues finds a header by its lower-case name. Spelling the canonical name of the usual ones costs
// an allocation each that a switch saves.
func headerValues(h http.Header, name string) []string {
	switch name {
	case "x-amz-date":
		return h["X-Amz-Date"]
	case "x-amz-content-sha256":
		return h["X-Amz-Content-Sha256"]
	case "amz-sdk-invocation-id":
		return h["Amz-Sdk-Invocation-Id"]
	case "amz-sdk-request":
		return h["Amz-Sdk-Request"]
	case "x-amz-security-token":
		return h["X-Amz-Security-Token"]
	case "x-amz-checksum-mode":
		return h["X-Amz-Checksum-Mode"]
	case "x-amz-decoded-content-length":
		return h["X-Amz-Decoded-Content-Length"]
	case "x-amz-trailer":
		return h["X-Amz-Trailer"]
	}
	return h[textproto.CanonicalMIMEHeaderKey(name)]
}

// checkUnsigned refuses x-amz headers that the signature does not cover: S3 obeys those headers, so that an
// unsigned one would let anybody who holds a presigned URL change what it asks for. The two that enter the
// string to sign by themselves are excepted.
func checkUnsigned(r *http.Request, c *Claim) error {
	var unsigned []string
	for name := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-") || name == "X-Amz-Content-Sha256" || name == "X-Amz-Date" {
			continue
		}
		if lower := strings.ToLower(name); !c.signs(lower) {
			unsigned = append(unsigned, lower)
		}
	}
	if unsigned == nil {
		return nil
	}
	slices.Sort(unsigned)
	return errUnsignedHeaders(strings.Join(unsigned, ", "))
}

// adoptParameters takes the signature's own parameters out of a presigned URL, so that routing sees what the
// request is about. For S3 it also makes headers of the other x-amz parameters: clients move the headers of
// a request that they presign into its query, and S3 reads them there.
func adoptParameters(r *http.Request, c *Claim, d dialect) {
	for name, values := range c.values {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") {
			continue
		}
		delete(c.values, name)
		switch lower {
		case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders",
			"x-amz-signature", "x-amz-security-token", "x-amz-content-sha256":
			continue
		}
		if key := textproto.CanonicalMIMEHeaderKey(lower); d == dialectS3 && r.Header[key] == nil {
			r.Header[key] = values
		}
	}
	r.URL.RawQuery = c.values.Encode()
}

// signed tells in constant time whether signature, in hex, is that of text under the key.
func (k signingKey) signed(text []byte, signature string) bool {
	mac := hmac.New(sha256.New, k[:])
	mac.Write(text)
	var sum [sha256.Size]byte
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], mac.Sum(sum[:0]))
	return hmac.Equal(want[:], []byte(signature))
}
