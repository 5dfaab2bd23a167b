//lint:file-ignore SA1019 Expires is the member that the wire has; ExpiresString is for clients, who read it.

package s3

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// question is what GetObject and HeadObject are asked alike.
type question struct {
	scope
	target
	conditional
	rangeHeader string
	part        *int32
	sums        bool
	override    given // response-…
}

// answer is what both answer.
type answer struct {
	object fsm.Object
	parts  []fsm.Part // of the manifest, read only where it is needed
	span   span
	sums   sums
}

func (s *Service) question(c *principal.Caller, in *sdk.GetObjectInput) (question, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return question{}, err
	}
	if anySet(in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5) {
		return question{}, invalidRequest.says("The encryption parameters are not applicable to this object.")
	}
	if v := aws.ToString(in.VersionId); v != "" && v != "null" {
		return question{}, noSuchVersion.with("Key", t.key, "VersionId", v)
	}
	q := question{
		scope: scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}, target: t,
		conditional: conditional{in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince},
		rangeHeader: aws.ToString(in.Range), part: in.PartNumber, sums: in.ChecksumMode == types.ChecksumModeEnabled,
		override: given{
			contentType: in.ResponseContentType, cacheControl: in.ResponseCacheControl, disposition: in.ResponseContentDisposition,
			encoding: in.ResponseContentEncoding, language: in.ResponseContentLanguage, expires: in.ResponseExpires,
		},
	}
	if q.part != nil && q.rangeHeader != "" {
		return q, invalidRequest.says("Cannot specify both Range header and partNumber query parameter")
	}
	if q.part != nil && (*q.part < 1 || *q.part > maxPartNumber) {
		return q, badPartNumber()
	}
	return q, nil
}

// find reads the object and decides what of it is answered, from one view.
func (s *Service) find(ctx context.Context, q question, bytes bool) (*answer, error) {
	a := &answer{}
	err := s.read(ctx, q.scope, q.group, func(v *fsm.View) error {
		var ok bool
		if a.object, ok = fsm.Objects.Get(v, q.id); !ok {
			return noSuchKey.with("Key", q.key)
		}
		if err := q.conditional.check(&a.object.ObjectHead, s.cfg.Clock()); err != nil {
			return err
		}
		if a.object.Upload != "" && (bytes || q.part != nil) {
			manifest, _ := fsm.Manifests.Get(v, a.object.Upload)
			a.parts = manifest.Parts
		}
		return a.choose(q)
	})
	return a, err
}

// choose sets the span of bytes and the checksums that go with it.
func (a *answer) choose(q question) (err error) {
	if q.part != nil {
		return a.choosePart(int(*q.part), q.sums)
	}
	if a.span, err = spanOf(q.rangeHeader, a.object.Size); err != nil {
		return err
	}
	if q.sums && !a.span.partial {
		a.sums = sumsOf(a.object.Sum, a.object.Parts)
	}
	return nil
}

func (a *answer) choosePart(n int, withSums bool) error {
	sum := a.object.Sum
	switch {
	case a.object.Upload == "" && n == 1:
		a.span = span{length: a.object.Size, partial: a.object.Size > 0}
	case n > len(a.parts):
		return invalidPartNumber.with("ActualPartCount", decimal(max(int64(a.object.Parts), 1)), "PartNumberRequested", decimal(int64(n)))
	default:
		for _, p := range a.parts[:n-1] {
			a.span.off += p.Size
		}
		a.span.length, sum = a.parts[n-1].Size, a.parts[n-1].Sum
		a.span.partial = a.span.length > 0
	}
	if withSums {
		a.sums = sumsOf(sum, a.object.Parts)
	}
	return nil
}

// GetObject answers an object's bytes, or a range of them.
func (s *Service) GetObject(ctx context.Context, c *principal.Caller, in *sdk.GetObjectInput) (*sdk.GetObjectOutput, error) {
	q, err := s.question(c, in)
	if err != nil {
		return nil, err
	}
	a, err := s.find(ctx, q, true)
	if err != nil {
		return nil, err
	}
	body, err := s.open(ctx, q.target, a)
	for tries := 0; err != nil; tries++ {
		next, findErr := s.find(ctx, q, true)
		if findErr != nil {
			return nil, findErr
		}
		if next.object.Rev == a.object.Rev || tries == maxTries { // it did not fail because it was replaced
			return nil, s.blobError(ctx, q.target, "read", err)
		}
		a = next
		body, err = s.open(ctx, q.target, a)
	}
	out := getOutput(q, a)
	out.Body = body
	return out, nil
}

func getOutput(q question, a *answer) *sdk.GetObjectOutput {
	o, h := &a.object, q.headers(&a.object)
	return &sdk.GetObjectOutput{
		AcceptRanges: aws.String("bytes"), ContentLength: &a.span.length, ContentRange: a.span.header(o.Size),
		ETag: quoted(o.ETag()), LastModified: timeOf(o.Modified), Metadata: o.UserMeta, PartsCount: a.partsCount(q),
		ContentType: h.contentType, CacheControl: h.cacheControl, ContentDisposition: h.disposition,
		ContentEncoding: h.encoding, ContentLanguage: h.language, Expires: h.expires,
		WebsiteRedirectLocation: h.redirect, TagCount: tagCount(o),
		ChecksumCRC32: a.sums.CRC32, ChecksumCRC32C: a.sums.CRC32C, ChecksumCRC64NVME: a.sums.CRC64NVME,
		ChecksumSHA1: a.sums.SHA1, ChecksumSHA256: a.sums.SHA256, ChecksumType: a.sums.Type,
	}
}

// HeadObject answers what GetObject does, without the bytes.
func (s *Service) HeadObject(ctx context.Context, c *principal.Caller, in *sdk.HeadObjectInput) (*sdk.HeadObjectOutput, error) {
	q, err := s.question(c, &sdk.GetObjectInput{
		Bucket: in.Bucket, Key: in.Key, ExpectedBucketOwner: in.ExpectedBucketOwner, VersionId: in.VersionId,
		IfMatch: in.IfMatch, IfNoneMatch: in.IfNoneMatch, IfModifiedSince: in.IfModifiedSince, IfUnmodifiedSince: in.IfUnmodifiedSince,
		Range: in.Range, PartNumber: in.PartNumber, ChecksumMode: in.ChecksumMode,
		ResponseContentType: in.ResponseContentType, ResponseCacheControl: in.ResponseCacheControl, ResponseExpires: in.ResponseExpires,
		ResponseContentDisposition: in.ResponseContentDisposition, ResponseContentEncoding: in.ResponseContentEncoding,
		ResponseContentLanguage: in.ResponseContentLanguage,
		SSECustomerAlgorithm:    in.SSECustomerAlgorithm, SSECustomerKey: in.SSECustomerKey, SSECustomerKeyMD5: in.SSECustomerKeyMD5,
	})
	if err != nil {
		return nil, err
	}
	a, err := s.find(ctx, q, false)
	if err != nil {
		return nil, err
	}
	g := getOutput(q, a)
	return &sdk.HeadObjectOutput{
		AcceptRanges: g.AcceptRanges, ContentLength: g.ContentLength, ContentRange: g.ContentRange,
		ETag: g.ETag, LastModified: g.LastModified, Metadata: g.Metadata, PartsCount: g.PartsCount,
		ContentType: g.ContentType, CacheControl: g.CacheControl, ContentDisposition: g.ContentDisposition,
		ContentEncoding: g.ContentEncoding, ContentLanguage: g.ContentLanguage, Expires: g.Expires,
		WebsiteRedirectLocation: g.WebsiteRedirectLocation, TagCount: g.TagCount,
		ChecksumCRC32: g.ChecksumCRC32, ChecksumCRC32C: g.ChecksumCRC32C, ChecksumCRC64NVME: g.ChecksumCRC64NVME,
		ChecksumSHA1: g.ChecksumSHA1, ChecksumSHA256: g.ChecksumSHA256, ChecksumType: g.ChecksumType,
	}, nil
}

// headers are the object's own, or those that the request overrides them with.
func (q question) headers(o *fsm.Object) given {
	content := o.ContentType
	if content == "" {
		content = defaultContent
	}
	h := given{
		contentType:  or(q.override.contentType, content),
		cacheControl: or(q.override.cacheControl, o.CacheControl),
		disposition:  or(q.override.disposition, o.ContentDisposition),
		encoding:     or(q.override.encoding, o.ContentEncoding),
		language:     or(q.override.language, o.ContentLanguage),
		redirect:     or(nil, o.Redirect),
		expires:      q.override.expires,
	}
	if h.expires == nil && o.Expires != 0 {
		h.expires = aws.Time(time.Unix(o.Expires, 0).UTC())
	}
	return h
}

// or is override, else stored, else nothing.
func or(override *string, stored string) *string {
	if override != nil || stored == "" {
		return override
	}
	return &stored
}

func (a *answer) partsCount(q question) *int32 {
	if q.part == nil || a.object.Parts == 0 {
		return nil
	}
	return aws.Int32(int32(a.object.Parts)) //nolint:gosec // at most 10000
}

func tagCount(o *fsm.Object) *int32 {
	if len(o.Tags) == 0 {
		return nil
	}
	return aws.Int32(int32(len(o.Tags))) //nolint:gosec // at most 10
}
