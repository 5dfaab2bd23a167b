package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's entity tags are MD5
	"encoding/base64"
	"encoding/hex"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// completion is a request to make an object of parts, being decided.
type completion struct {
	scope
	target
	id     fsm.UploadID
	listed []types.CompletedPart
	in     *sdk.CompleteMultipartUploadInput
	when   fsm.Precondition

	done *fsm.Object // the upload was completed before, and is still the object
}

// CompleteMultipartUpload makes an object of parts: no byte is moved. Repeating it answers the same
// while the object is there.
func (s *Service) CompleteMultipartUpload(ctx context.Context, c *principal.Caller, in *sdk.CompleteMultipartUploadInput) (*sdk.CompleteMultipartUploadOutput, error) {
	q, err := s.completion(c, in)
	if err != nil {
		return nil, err
	}
	for range maxTries {
		cmd, err := s.planCompletion(ctx, q)
		if err != nil {
			return nil, err
		}
		if q.done != nil {
			return q.output(q.done), nil
		}
		if err = s.propose(ctx, q.group, cmd); err == nil {
			return q.output(&cmd.Object), nil
		}
		if !refused(err) {
			return nil, err
		}
		// Something changed between the look and the commit: another look tells what.
	}
	return nil, operationAborted.with("UploadId", string(q.id))
}

func (s *Service) completion(c *principal.Caller, in *sdk.CompleteMultipartUploadInput) (*completion, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	q := &completion{
		scope: scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}, target: t,
		id: fsm.UploadID(aws.ToString(in.UploadId)), in: in,
	}
	if in.MultipartUpload == nil || len(in.MultipartUpload.Parts) == 0 || len(in.MultipartUpload.Parts) > maxPartNumber {
		return nil, malformedXML.with()
	}
	q.listed = in.MultipartUpload.Parts
	last := int32(0)
	for _, p := range q.listed {
		n := aws.ToInt32(p.PartNumber)
		if n < 1 || n > maxPartNumber {
			return nil, badPartNumber()
		}
		if n <= last {
			return nil, invalidPartOrder.with("UploadId", string(q.id))
		}
		last = n
	}
	q.when, err = conditions(in.IfMatch, in.IfNoneMatch)
	return q, err
}

// planCompletion reads the parts and decides. Either the command or q.done is set.
func (s *Service) planCompletion(ctx context.Context, q *completion) (*fsm.CompleteUpload, error) {
	cmd := &fsm.CompleteUpload{Bucket: q.target.bucket, Key: q.key, ID: q.id, Precondition: q.when}
	var parts []fsm.Part
	var u fsm.Upload
	err := s.read(ctx, q.scope, q.group, func(v *fsm.View) error {
		var open bool
		if u, open = fsm.Uploads.Get(v, fsm.NewUploadKey(q.target.bucket, q.key, q.id)); !open {
			o, ok := fsm.Objects.Get(v, q.target.id)
			if !ok || q.id == "" || o.Upload != q.id {
				return noUpload(q.id)
			}
			q.done = &o
			return nil
		}
		if err := preconditionOf(q.when.Check(v, q.target.id), q.target, conditionName(q.when)); err != nil {
			return err
		}
		var err error
		cmd.Parts, parts, err = q.choose(v)
		return err
	})
	if err != nil || q.done != nil {
		return nil, err
	}
	cmd.Object = fsm.Object{ObjectHeaders: u.ObjectHeaders, Upload: q.id}
	cmd.Object.Modified, cmd.Object.Parts = s.now(), len(parts)
	digests := md5.New()
	for i := range parts {
		cmd.Object.Size += parts[i].Size
		digests.Write(parts[i].MD5)
	}
	cmd.Object.MD5 = digests.Sum(nil)
	if want := q.in.MpuObjectSize; want != nil && *want != cmd.Object.Size {
		return nil, invalidRequest.says("The provided 'x-amz-mp-object-size' header value " + decimal(*want) + " does not match what was computed: " + decimal(cmd.Object.Size))
	}
	cmd.Object.Sum, err = q.sumUp(u.Sum, parts)
	return cmd, err
}

// choose finds the listed parts among those that were uploaded.
func (q *completion) choose(v *fsm.View) (choice []fsm.PartChoice, parts []fsm.Part, err error) {
	choice = make([]fsm.PartChoice, 0, len(q.listed))
	parts = make([]fsm.Part, 0, len(q.listed))
	for k, part := range fsm.Parts.Scan(v, fsm.PartKey(q.id)) {
		if len(parts) == len(q.listed) {
			break
		}
		if listed := q.listed[len(parts)]; int32(k.Number()) == *listed.PartNumber && matches(listed, part) {
			choice = append(choice, fsm.PartChoice{Number: k.Number(), Rev: part.Rev})
			parts = append(parts, part)
		}
	}
	if len(parts) < len(q.listed) {
		missing := q.listed[len(parts)]
		return nil, nil, invalidPart.with("UploadId", string(q.id), "PartNumber", decimal(int64(*missing.PartNumber)), "ETag", unquoted(aws.ToString(missing.ETag)))
	}
	for i, p := range parts[:len(parts)-1] {
		if p.Size < minPart {
			return nil, nil, entityTooSmall.with("ProposedSize", decimal(p.Size), "MinSizeAllowed", decimal(minPart),
				"PartNumber", decimal(int64(choice[i].Number)), "ETag", hex.EncodeToString(p.MD5))
		}
	}
	return choice, parts, nil
}

// matches tells whether a part is the one that the client lists.
func matches(listed types.CompletedPart, p fsm.Part) bool {
	if unquoted(aws.ToString(listed.ETag)) != hex.EncodeToString(p.MD5) {
		return false
	}
	a := algorithmOf(p.Sum.Alg)
	if a == nil {
		return true
	}
	given := sums{
		CRC32: listed.ChecksumCRC32, CRC32C: listed.ChecksumCRC32C, CRC64NVME: listed.ChecksumCRC64NVME,
		SHA1: listed.ChecksumSHA1, SHA256: listed.ChecksumSHA256,
	}.text(a)
	return given == "" || given == base64.StdEncoding.EncodeToString(p.Sum.Sum)
}

// sumUp is the object's checksum, from those of its parts, compared with the client's.
func (q *completion) sumUp(want fsm.Checksum, parts []fsm.Part) (fsm.Checksum, error) {
	a := algorithmOf(want.Alg)
	if a == nil {
		return fsm.Checksum{}, nil
	}
	if asked := q.in.ChecksumType; asked != "" && asked != typeOf(want) {
		return want, invalidRequest.says("The upload was created using the " + string(typeOf(want)) + " checksum mode. The complete request must use the same checksum mode.")
	}
	if want.Composite {
		all := a.new()
		for i := range parts {
			all.Write(parts[i].Sum.Sum)
		}
		want.Sum = all.Sum(nil)
	} else {
		want.Sum = joinCRCs(a, parts)
	}
	text := sums{
		CRC32: q.in.ChecksumCRC32, CRC32C: q.in.ChecksumCRC32C, CRC64NVME: q.in.ChecksumCRC64NVME,
		SHA1: q.in.ChecksumSHA1, SHA256: q.in.ChecksumSHA256,
	}.text(a)
	if text == "" {
		return want, nil
	}
	head, _, _ := bytes.Cut([]byte(text), []byte("-")) // "-parts" of a composite one
	if string(head) != base64.StdEncoding.EncodeToString(want.Sum) {
		return want, badDigest.says("The " + a.suffix + " you specified did not match the calculated checksum.")
	}
	return want, nil
}

func (q *completion) output(o *fsm.Object) *sdk.CompleteMultipartUploadOutput {
	sums := sumsOf(o.Sum, o.Parts)
	return &sdk.CompleteMultipartUploadOutput{
		Bucket: q.in.Bucket, Key: q.in.Key, ETag: quoted(o.ETag()),
		Location:      aws.String("/" + string(q.target.bucket) + "/" + percentEncoded(q.key)),
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
		ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256, ChecksumType: sums.Type,
	}
}
