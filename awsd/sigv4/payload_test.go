package sigv4

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"hive/awsd/protocol"
)

// codeOf is the AWS code of an error, "" for nil.
func codeOf(err error) string {
	var refusal *protocol.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// put is an S3 PUT of body with the given payload hash, signed over all headers.
func put(t testing.TB, body, hash string, headers ...[2]string) *http.Request {
	r := request(t, "PUT", "host.test", "/b/k", body, headers)
	sign(t, r, "s3", testRegion, hash, noon())
	return r
}

func sum64(h string, data string) string {
	d := newHash(h)
	d.Write([]byte(data))
	return base64.StdEncoding.EncodeToString(d.Sum(nil))
}

// unsignedChunks frames chunks without signatures.
func unsignedChunks(trailers string, chunks ...string) string {
	var b strings.Builder
	for _, c := range append(chunks, "") {
		b.WriteString(strconv.FormatInt(int64(len(c)), 16) + "\r\n" + c)
		if c != "" {
			b.WriteString("\r\n")
		}
	}
	return b.String() + trailers + "\r\n"
}

func trailing(t testing.TB, body string, decoded int, name string) *http.Request {
	return put(t, body, unsignedTrailer, [2]string{"Content-Encoding", "aws-chunked"},
		[2]string{"X-Amz-Decoded-Content-Length", strconv.Itoa(decoded)}, [2]string{"X-Amz-Trailer", name})
}

func TestChecksumHeadersAreVerified(t *testing.T) {
	const data = "The quick brown fox"
	for _, name := range []string{"crc32", "crc32c", "crc64nvme", "sha1", "sha256", "sha512", "md5"} {
		header := checksumPrefix + name
		good, bad := sum64(name, data), sum64(name, data+"x")
		got, body, err := verify(testVerifier(), put(t, data, unsignedPayload, [2]string{header, good}), "s3")
		if err != nil || string(got) != data || body.Checksums()[name] != good {
			t.Errorf("%s: %q, %v, %v", name, got, body.Checksums(), err)
		}
		_, _, err = verify(testVerifier(), put(t, data, unsignedPayload, [2]string{header, bad}), "s3")
		if codeOf(err) != "BadDigest" {
			t.Errorf("%s: a wrong one: %v", name, err)
		}
		_, _, err = verify(testVerifier(), put(t, data, unsignedPayload, [2]string{header, "AAA="}), "s3")
		if codeOf(err) != "InvalidRequest" {
			t.Errorf("%s: no checksum at all: %v", name, err)
		}
		// The same, trailing.
		for value, want := range map[string]string{good: "", bad: "BadDigest", "": "BadDigest"} {
			framed := unsignedChunks(header+":"+value+"\r\n", data)
			got, body, err := verify(testVerifier(), trailing(t, framed, len(data), header), "s3")
			if codeOf(err) != want || want == "" && (string(got) != data || body.Checksums()[name] != good) {
				t.Errorf("%s trailing %q: want %q, got %v", name, value, want, err)
			}
		}
	}
}

// TestChecksumOfKnownValue guards against a table that is not the algorithm's: the check values of
// "123456789" from the CRC catalogue (reveng.sourceforge.io).
func TestChecksumOfKnownValue(t *testing.T) {
	for name, want := range map[string]string{"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"} {
		h := newHash(name)
		h.Write([]byte("123456789"))
		n, err := strconv.ParseUint(want, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		var got uint64
		for _, b := range h.Sum(nil) {
			got = got<<8 | uint64(b)
		}
		if got != n {
			t.Errorf("%s is %x, want %s", name, got, want)
		}
	}
}

func TestChecksumHeaderRules(t *testing.T) {
	const data = "data"
	crc := [2]string{"x-amz-checksum-crc32", sum64("crc32", data)}
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"two checksums":          {put(t, data, unsignedPayload, crc, [2]string{"x-amz-checksum-sha1", sum64("sha1", data)}), "InvalidRequest"},
		"one checksum twice":     {put(t, data, unsignedPayload, crc, crc), "InvalidRequest"},
		"an algorithm not known": {put(t, data, unsignedPayload, [2]string{"x-amz-checksum-xxhash3", "AAAAAAAAAAA="}), "InvalidRequest"},
		"promised, not sent":     {put(t, data, unsignedPayload, [2]string{"x-amz-sdk-checksum-algorithm", "CRC32"}), "InvalidRequest"},
		"not a checksum":         {put(t, data, unsignedPayload, [2]string{"x-amz-checksum-mode", "ENABLED"}, [2]string{"x-amz-checksum-algorithm", "CRC32"}), ""},
		"a trailer not framed":   {put(t, data, unsignedPayload, [2]string{"x-amz-trailer", "x-amz-checksum-crc32"}), "InvalidRequest"},
		"a trailer of no kind":   {trailing(t, unsignedChunks("x-amz-meta-a:b\r\n", data), 4, "x-amz-meta-a"), "InvalidRequest"},
		"no content hash known":  {put(t, data, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "InvalidArgument"},
		"a hash and more bytes":  {put(t, data, emptyHash), "XAmzContentSHA256Mismatch"},
	} {
		_, _, err := verify(testVerifier(), c.r, "s3")
		if codeOf(err) != c.want {
			t.Errorf("%s: want %q, got %v", name, c.want, err)
		}
	}
}

func TestCompleteMultipartUploadSpeaksOfTheObjectsChecksum(t *testing.T) {
	r := request(t, "POST", "host.test", "/b/k?uploadId=x", "<a/>", [][2]string{{"x-amz-checksum-crc32", "AAAAAA=="}})
	sign(t, r, "s3", testRegion, unsignedPayload, noon())
	if got, _, err := verify(testVerifier(), r, "s3"); err != nil || string(got) != "<a/>" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestContentMD5IsVerifiedWhenAsked(t *testing.T) {
	const data = "<Delete/>"
	sum := md5.Sum([]byte(data))
	for value, want := range map[string]string{base64.StdEncoding.EncodeToString(sum[:]): "", base64.StdEncoding.EncodeToString(make([]byte, 16)): "BadDigest"} {
		r := put(t, data, unsignedPayload)
		_, body, err := testVerifier().Verify(r, Read(r), "s3")
		if err != nil {
			t.Fatal(err)
		}
		if err := body.ExpectMD5(value); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); codeOf(err) != want {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if err := new(Body).ExpectMD5("no md5"); codeOf(err) != "InvalidDigest" {
		t.Error(err)
	}
}

// TestFramingRefusals: whatever is wrong with an aws-chunked payload is an error of the read, never an end.
func TestFramingRefusals(t *testing.T) {
	const header = "x-amz-checksum-crc32"
	big, data := strings.Repeat("b", minChunk), "hello"
	trailer := header + ":" + sum64("crc32", data) + "\r\n"
	for name, c := range map[string]struct {
		framed  string
		decoded int
		want    string
	}{
		"well formed":                    {unsignedChunks(trailer, data), 5, ""},
		"no empty line at the end":       {"5\r\nhello\r\n0\r\n" + trailer, 5, ""},
		"an empty line before trailers":  {"5\r\nhello\r\n0\r\n\r\n" + trailer + "\r\n", 5, ""},
		"bare line feeds in trailers":    {"5\r\nhello\r\n0\r\n" + strings.ReplaceAll(trailer, "\r", "") + "\r\n", 5, ""},
		"no trailer":                     {unsignedChunks("", data), 5, "MalformedTrailerError"},
		"another trailer":                {unsignedChunks("x-amz-checksum-sha1:"+sum64("sha1", data)+"\r\n", data), 5, "MalformedTrailerError"},
		"a trailer more":                 {unsignedChunks(trailer+"x-amz-meta-a:b\r\n", data), 5, "MalformedTrailerError"},
		"a trailer twice":                {unsignedChunks(trailer+trailer, data), 5, "MalformedTrailerError"},
		"a trailer that is none":         {unsignedChunks("crc32\r\n", data), 5, "MalformedTrailerError"},
		"something after the end":        {unsignedChunks(trailer, data) + "x", 5, "InvalidRequest"},
		"fewer bytes than promised":      {unsignedChunks(trailer, data), 6, "IncompleteBody"},
		"more bytes than promised":       {unsignedChunks(trailer, data), 4, "IncompleteBody"},
		"bytes where none were promised": {unsignedChunks(trailer, data), 0, "IncompleteBody"},
		"cut in a chunk":                 {"5\r\nhel", 5, "IncompleteBody"},
		"cut after a chunk":              {"5\r\nhello", 5, "IncompleteBody"},
		"cut in a size":                  {"5", 5, "IncompleteBody"},
		"nothing":                        {"", 5, "IncompleteBody"},
		"no last chunk":                  {"5\r\nhello\r\n", 5, "IncompleteBody"},
		"a chunk longer than its size":   {"4\r\nhello\r\n0\r\n" + trailer + "\r\n", 5, "InvalidRequest"},
		"a size that is none":            {"five\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"},
		"a negative size":                {"-5\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"},
		"an enormous size":               {"7fffffffffffffff\r\nhello", 5, "IncompleteBody"},
		"a size beyond numbers":          {"fffffffffffffffff\r\nhello", 5, "InvalidRequest"},
		"a line without end":             {strings.Repeat("0", 2*lineBuffer), 5, "InvalidRequest"},
		"a small chunk that is not last": {unsignedChunks(trailer, "small", big), 5 + minChunk, "InvalidChunkSizeError"},
		"a small chunk that is last":     {unsignedChunks(header+":"+sum64("crc32", big+data)+"\r\n", big, data), 5 + minChunk, ""},
	} {
		_, _, err := verify(testVerifier(), trailing(t, c.framed, c.decoded, header), "s3")
		if codeOf(err) != c.want {
			t.Errorf("%s: want %q, got %v", name, c.want, err)
		}
	}
}

func TestChunkedNeedsItsDecodedLength(t *testing.T) {
	for value, want := range map[string]string{"": "MissingContentLength", "x": "InvalidArgument", "-1": "InvalidArgument"} {
		r := put(t, "0\r\n\r\n", unsignedTrailer, [2]string{"X-Amz-Decoded-Content-Length", value}, [2]string{"X-Amz-Trailer", "x-amz-checksum-crc32"})
		if _, _, err := verify(testVerifier(), r, "s3"); codeOf(err) != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPlainBodyShorterThanItsLength(t *testing.T) {
	r := put(t, "hello", unsignedPayload)
	r.Body = io.NopCloser(iotest.DataErrReader(strings.NewReader("hell")))
	if _, _, err := verify(testVerifier(), r, "s3"); codeOf(err) != "IncompleteBody" {
		t.Error(err)
	}
	r = put(t, "hello", unsignedPayload)
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hell"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if _, _, err := verify(testVerifier(), r, "s3"); codeOf(err) != "IncompleteBody" {
		t.Error(err)
	}
}

// TestEveryFlippedByteOfASignedUploadIsSeen flips bytes all over the documentation's signed upload: those
// of the framing, the signatures and the trailer one by one, of the data some.
func TestEveryFlippedByteOfASignedUploadIsSeen(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		_, framed := docsChunked(t, trailer)
		for i := 0; i < len(framed); i++ {
			if framed[i] == 'a' && i > 100 && i < len(framed)-500 && i%4099 != 0 {
				continue
			}
			flipped := []byte(framed)
			flipped[i] ^= 0x01
			r, _ := docsChunked(t, trailer)
			r.Body = io.NopCloser(bytes.NewReader(flipped))
			got, _, err := verify(docsVerifier(t), r, "s3")
			if err == nil && !harmless(framed, i) {
				t.Fatalf("flipping byte %d (%q) of %d goes unseen; %d bytes came", i, framed[i], len(framed), len(got))
			}
		}
	}
}

// harmless is the flip of a carriage return: the line feed behind it still ends the line, and what the
// flip has made of it is white space, which a trailer's value may have around it.
func harmless(framed string, i int) bool { return framed[i] == '\r' }

// TestTruncatedSignedUploadNeverEnds cuts the documentation's upload everywhere that matters.
func TestTruncatedSignedUploadNeverEnds(t *testing.T) {
	_, framed := docsChunked(t, false)
	for i := range framed {
		if framed[i] == 'a' && i > 100 && i < len(framed)-300 && i%4099 != 0 {
			continue
		}
		r, _ := docsChunked(t, false)
		r.Body = io.NopCloser(strings.NewReader(framed[:i]))
		if _, _, err := verify(docsVerifier(t), r, "s3"); err == nil && i < len(framed)-4 {
			t.Fatalf("cutting at %d of %d ends cleanly", i, len(framed))
		}
	}
}

// TestReaderOfExactlySizeSeesTheMismatch: io.ReadFull never sees io.EOF, and must not get the last bytes.
func TestReaderOfExactlySizeSeesTheMismatch(t *testing.T) {
	for _, r := range []*http.Request{
		put(t, "hello", unsignedPayload, [2]string{"x-amz-checksum-crc32", sum64("crc32", "hullo")}),
		trailing(t, unsignedChunks("x-amz-checksum-crc32:"+sum64("crc32", "hullo")+"\r\n", "hello"), 5, "x-amz-checksum-crc32"),
	} {
		_, body, err := testVerifier().Verify(r, Read(r), "s3")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(body, make([]byte, body.Size())); codeOf(err) != "BadDigest" {
			t.Errorf("got %v", err)
		}
		if _, err := body.Read(make([]byte, 1)); codeOf(err) != "BadDigest" {
			t.Errorf("the next read says %v", err)
		}
	}
}

// TestAnyReadSizesDecodeTheSame reads with buffers, and from connections, of all sizes.
func TestAnyReadSizesDecodeTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		r, framed := docsChunked(t, true)
		r.Body = io.NopCloser(&choppy{[]byte(framed), rng})
		_, body, err := docsVerifier(t).Verify(r, Read(r), "s3")
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for err == nil {
			var n int
			n, err = body.Read(make([]byte, 1+rng.IntN(1<<rng.IntN(17))))
			total += n
		}
		if err != io.EOF || total != 66560 {
			t.Fatalf("%d bytes, %v", total, err)
		}
	}
}

// choppy gives its bytes in pieces of random sizes.
type choppy struct {
	data []byte
	rng  *rand.Rand
}

func (c *choppy) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.rng.IntN(1<<c.rng.IntN(17)))], c.data)
	c.data = c.data[n:]
	return n, nil
}

func FuzzRead(f *testing.F) {
	r := signed(f, "s3")
	f.Add(r.Header.Get("Authorization"), "", "20260506T120000Z")
	f.Add("", presign(f, "GET", "s3", "/b/k?X-Amz-Expires=60", noon()).URL.RawQuery, "")
	f.Add("AWS4-HMAC-SHA256 Credential=////,Signature=,SignedHeaders=;", "X-Amz-Signature=%zz&X-Amz-Algorithm=", "Fri, 24 May 2013 00:00:00 GMT")
	f.Add("AWS "+exampleKey+":c2ln", "acl", "Wed, 06 May 2026 12:00:00 GMT")
	f.Add("", presigned2(f, "GET", "/b/k?x-amz-acl=private&response-expires=a%26b", "").URL.RawQuery, "")
	f.Fuzz(func(t *testing.T, auth, query, date string) {
		r := request(t, "GET", "host.test", "/b/k", "", [][2]string{{"X-Amz-Date", date}, {"X-Amz-Content-Sha256", emptyHash}})
		r.URL.RawQuery = query
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		for _, service := range []string{"s3", "ec2", "sts"} {
			_, _, err := testVerifier().Verify(r, Read(r), service)
			if err != nil && codeOf(err) == err.Error() {
				t.Errorf("not a refusal: %v", err)
			}
		}
	})
}

func FuzzChunked(f *testing.F) {
	_, framed := docsChunked(f, true)
	f.Add([]byte(strings.ReplaceAll(framed, strings.Repeat("a", 64), "")), int64(5), true)
	f.Add([]byte(unsignedChunks("x-amz-checksum-crc32:NhCmhg==\r\n", "hello")), int64(5), false)
	f.Add([]byte("0\r\n\r\n"), int64(0), false)
	f.Fuzz(func(t *testing.T, framed []byte, decoded int64, signed bool) {
		hash := unsignedTrailer
		if signed {
			hash = streamingTrailers
		}
		r := put(t, "", hash, [2]string{"X-Amz-Decoded-Content-Length", strconv.FormatInt(decoded, 10)}, [2]string{"X-Amz-Trailer", "x-amz-checksum-crc32"})
		r.Body = io.NopCloser(bytes.NewReader(framed))
		got, body, err := verify(testVerifier(), r, "s3")
		if err != nil {
			if codeOf(err) == err.Error() {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if signed || int64(len(got)) != decoded || body.Checksums()["crc32"] != sum64("crc32", string(got)) {
			t.Errorf("%d bytes pass (signed %v) of %q", len(got), signed, framed)
		}
	})
}
