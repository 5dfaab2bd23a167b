package s3

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
)

// conditional are the conditions of a read, or of a copy's source.
type conditional struct {
	match, noneMatch *string
	modifiedSince    *time.Time
	unmodifiedSince  *time.Time
}

// check is nil when the object shall be answered, 412 or 304 when not. Entity tags go before dates.
// Source: RFC 9110, 13.2.2; "GetObject", Amazon S3 API Reference.
func (c conditional) check(o *fsm.ObjectHead, now time.Time) error {
	modified := time.UnixMilli(o.Modified).Truncate(time.Second)
	switch {
	case c.match != nil && !etagIn(*c.match, o.ETag()):
		return preconditionFailed.with("Condition", "If-Match")
	case c.match == nil && c.unmodifiedSince != nil && modified.After(*c.unmodifiedSince):
		return preconditionFailed.with("Condition", "If-Unmodified-Since")
	case c.noneMatch != nil && etagIn(*c.noneMatch, o.ETag()):
		return unchanged(o)
	case c.noneMatch == nil && c.modifiedSince != nil && !modified.After(*c.modifiedSince) && !c.modifiedSince.After(now):
		return unchanged(o)
	}
	return nil
}

func unchanged(o *fsm.ObjectHead) *protocol.Error {
	e := notModified.with()
	e.Header = http.Header{
		"Etag":          {*quoted(o.ETag())},
		"Last-Modified": {time.UnixMilli(o.Modified).UTC().Format(http.TimeFormat)},
	}
	return e
}

// etagIn tells whether a header's list of entity tags has etag, or is "*".
func etagIn(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = unquoted(one); one == "*" || one == etag {
			return true
		}
	}
	return false
}

// span is a range of an object's bytes; the whole one when it is not partial.
type span struct {
	off, length int64
	partial     bool
}

// spanOf reads a Range header for an object of size bytes. A header that is not one range of bytes asks
// for the whole object. Source: RFC 9110, 14.1.2.
func spanOf(header string, size int64) (span, error) {
	whole := span{length: size}
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(text), "-")
	if !ok || !dash || strings.Contains(text, ",") {
		return whole, nil
	}
	from, okFrom := position(first)
	to, okTo := position(last)
	switch {
	case first == "" && okTo: // the last bytes
		from, to = max(size-to, 0), size-1
	case first == "" || !okFrom || last != "" && (!okTo || to < from):
		return whole, nil
	case last == "":
		to = size - 1
	}
	to = min(to, size-1)
	if from > to {
		e := invalidRange.with("RangeRequested", header, "ActualObjectSize", decimal(size))
		e.Header = http.Header{"Content-Range": {"bytes */" + decimal(size)}}
		return whole, e
	}
	return span{off: from, length: to - from + 1, partial: true}, nil
}

// position is a number of decimal digits only; one too large for an object is larger than any.
func position(text string) (int64, bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && text != "" {
		return 1<<62 - 1, true
	}
	return n, text != ""
}

// header is Content-Range, nil for the whole object.
func (s span) header(size int64) *string {
	if !s.partial {
		return nil
	}
	text := "bytes " + decimal(s.off) + "-" + decimal(s.off+s.length-1) + "/" + decimal(size)
	return &text
}
