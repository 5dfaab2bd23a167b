package s3

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
)

const (
	maxUserMeta    = 2 << 10
	maxTags        = 10
	maxTagKey      = 128 // characters
	maxTagValue    = 256
	defaultContent = "binary/octet-stream"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// wishes are what a client may ask of a new object that is refused rather than passed over.
type wishes struct {
	acl     types.ObjectCannedACL
	grants  []*string
	storage types.StorageClass
	crypt   types.ServerSideEncryption
	keys    []*string // of the client's or KMS
	lock    bool
	offset  *int64
}

func (w wishes) check() error {
	switch w.acl {
	case "", types.ObjectCannedACLPrivate, types.ObjectCannedACLBucketOwnerFullControl:
	default:
		return noACLs.with()
	}
	switch {
	case anySet(w.grants...):
		return noACLs.with()
	case w.storage != "" && w.storage != types.StorageClassStandard:
		return invalidStorageClass.with("StorageClassRequested", string(w.storage))
	case w.crypt != "" || anySet(w.keys...):
		return notImplemented.says("Server-side encryption is not supported: send the object without its headers, or encrypt it before.")
	case w.lock:
		return invalidRequest.says("Bucket is missing Object Lock Configuration")
	case w.offset != nil:
		return notImplemented.says("Appending to objects is not supported.")
	}
	return nil
}

// given are the headers of a request that are stored with an object.
type given struct {
	contentType, cacheControl, disposition, encoding, language, redirect *string

	expires *time.Time
	meta    map[string]string
	tagging *string
}

func (g given) headers() (fsm.ObjectHeaders, error) {
	h := fsm.ObjectHeaders{
		ContentType: aws.ToString(g.contentType), CacheControl: aws.ToString(g.cacheControl),
		ContentDisposition: aws.ToString(g.disposition), ContentLanguage: aws.ToString(g.language),
		ContentEncoding: storedEncoding(aws.ToString(g.encoding)), Redirect: aws.ToString(g.redirect),
	}
	if g.expires != nil {
		h.Expires = g.expires.Unix()
	}
	var err error
	if h.UserMeta, err = userMeta(g.meta); err != nil {
		return h, err
	}
	h.Tags, err = tagsOfHeader(aws.ToString(g.tagging))
	return h, err
}

// storedEncoding is a Content-Encoding without that of the transfer.
func storedEncoding(header string) string {
	if !strings.Contains(header, "aws-chunked") {
		return header
	}
	var kept []string
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part != "aws-chunked" && part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ",")
}

func userMeta(in map[string]string) (map[string]string, error) {
	if len(in) == 0 {
		return nil, nil
	}
	size, out := 0, make(map[string]string, len(in))
	for k, v := range in {
		size += len(k) + len(v)
		out[strings.ToLower(k)] = v
	}
	if size > maxUserMeta {
		return nil, metadataTooLarge.with("Size", strconv.Itoa(size), "MaxSizeAllowed", strconv.Itoa(maxUserMeta))
	}
	return out, nil
}

func tagsOfHeader(header string) (map[string]string, error) {
	if header == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(header)
	if err != nil {
		return nil, invalidArgument.says("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
			"ArgumentName", "x-amz-tagging", "ArgumentValue", header)
	}
	var set []types.Tag
	for k, values := range query {
		for _, v := range values {
			set = append(set, types.Tag{Key: aws.String(k), Value: aws.String(v)})
		}
	}
	return tagsOf(set)
}

// tagsOf checks a set of tags. Source: "Categorizing your objects using tags", Amazon S3 User Guide.
func tagsOf(set []types.Tag) (map[string]string, error) {
	if len(set) > maxTags {
		return nil, fault{400, "BadRequest", "Object tags cannot be greater than 10"}.with()
	}
	out := make(map[string]string, len(set))
	for _, tag := range set {
		k, v := aws.ToString(tag.Key), aws.ToString(tag.Value)
		if _, twice := out[k]; twice {
			return nil, invalidTag.says("Cannot provide multiple Tags with the same key", "TagKey", k)
		}
		if k == "" || utf8.RuneCountInString(k) > maxTagKey || strings.HasPrefix(k, "aws:") {
			return nil, invalidTag.says("The TagKey you have provided is invalid", "TagKey", k)
		}
		if utf8.RuneCountInString(v) > maxTagValue {
			return nil, invalidTag.says("The TagValue you have provided is invalid", "TagKey", k, "TagValue", v)
		}
		out[k] = v
	}
	return out, nil
}

// conditions are a write's If-Match and If-None-Match.
func conditions(ifMatch, ifNoneMatch *string) (fsm.Precondition, error) {
	var p fsm.Precondition
	if tag := aws.ToString(ifNoneMatch); tag != "" {
		if tag != "*" {
			return p, notImplemented.with("Header", "If-None-Match", "additionalMessage", "A write can only be conditional on If-None-Match: *")
		}
		p.Absent = true
	}
	p.ETag = unquoted(aws.ToString(ifMatch))
	if p.Absent && p.ETag != "" {
		return p, invalidRequest.says("Specify If-Match or If-None-Match, not both.")
	}
	return p, nil
}

func conditionName(p fsm.Precondition) string {
	if p.Absent {
		return "If-None-Match"
	}
	return "If-Match"
}

func quoted(etag string) *string {
	etag = `"` + etag + `"`
	return &etag
}

func unquoted(etag string) string {
	etag = strings.TrimPrefix(strings.TrimSpace(etag), "W/")
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		etag = etag[1 : len(etag)-1]
	}
	return etag
}
