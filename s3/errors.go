package s3

import (
	"context"
	"errors"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/shard"
)

// fault is a row of the table of answers: AWS's code and status, and a message that tells what to do.
// Source: "Error responses", Amazon S3 API Reference.
type fault struct {
	status  int
	code    string
	message string
}

// with makes the answer, with extra elements given as name, value pairs.
func (f fault) with(fields ...string) *protocol.Error {
	e := &protocol.Error{Code: f.code, Message: f.message, Status: f.status}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Fields = append(e.Fields, protocol.Field{Name: fields[i], Value: fields[i+1]})
	}
	return e
}

// says is with, under another message.
func (f fault) says(message string, fields ...string) *protocol.Error {
	f.message = message
	return f.with(fields...)
}

var (
	accessDenied        = fault{403, "AccessDenied", "Access Denied"}
	badDigest           = fault{400, "BadDigest", "The Content-MD5 or checksum you specified did not match what was received."}
	bucketAlreadyExists = fault{409, "BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."}
	bucketAlreadyOwned  = fault{409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it."}
	bucketNotEmpty      = fault{409, "BucketNotEmpty", "The bucket you tried to delete is not empty"}
	entityTooLarge      = fault{400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"}
	entityTooSmall      = fault{400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"}
	illegalLocation     = fault{400, "IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."}
	incompleteBody      = fault{400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."}
	internalError       = fault{500, "InternalError", "We encountered an internal error. Please try again."}
	invalidArgument     = fault{400, "InvalidArgument", "Invalid Argument"}
	invalidBucketName   = fault{400, "InvalidBucketName", "The specified bucket is not valid."}
	invalidDigest       = fault{400, "InvalidDigest", "The Content-MD5 you specified was invalid."}
	invalidLocation     = fault{400, "InvalidLocationConstraint", "The specified location-constraint is not valid"}
	invalidPart         = fault{400, "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."}
	invalidPartNumber   = fault{416, "InvalidPartNumber", "The requested partnumber is not satisfiable"}
	invalidPartOrder    = fault{400, "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number."}
	invalidRange        = fault{416, "InvalidRange", "The requested range is not satisfiable"}
	invalidRequest      = fault{400, "InvalidRequest", "Invalid Request"}
	invalidStorageClass = fault{400, "InvalidStorageClass", "The storage class you specified is not valid: only STANDARD is available."}
	invalidTag          = fault{400, "InvalidTag", "The tag provided was not a valid tag."}
	keyTooLong          = fault{400, "KeyTooLongError", "Your key is too long"}
	malformedXML        = fault{400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"}
	metadataTooLarge    = fault{400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"}
	missingLength       = fault{411, "MissingContentLength", "You must provide the Content-Length HTTP header."}
	noACLs              = fault{400, "AccessControlListNotSupported", "The bucket does not allow ACLs"}
	noSuchBucket        = fault{404, "NoSuchBucket", "The specified bucket does not exist"}
	noSuchKey           = fault{404, "NoSuchKey", "The specified key does not exist."}
	noSuchUpload        = fault{404, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	noSuchVersion       = fault{404, "NoSuchVersion", "The specified version does not exist."}
	notImplemented      = fault{501, "NotImplemented", "A header you provided implies functionality that is not implemented"}
	notModified         = fault{304, "NotModified", "Not Modified"}
	operationAborted    = fault{409, "OperationAborted", "A conflicting conditional operation is currently in progress against this resource. Try again."}
	preconditionFailed  = fault{412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	tooManyBuckets      = fault{400, "TooManyBuckets", "You have attempted to create more buckets than allowed"}
	serviceUnavailable  = fault{503, "ServiceUnavailable", "Reduce your request rate."}
	slowDown            = fault{503, "SlowDown", "Reduce your request rate."}
)

// blobFaults are the causes of the blob store, in AWS's codes.
var blobFaults = []struct {
	cause  error
	answer *protocol.Error
}{
	{shard.ErrDiskFull, serviceUnavailable.says("The cluster's disks are full: delete objects or add room, then try again. Reads and deletes go on.")},
	{shard.ErrUnavailable, slowDown.says("Too few storage nodes answer. Please try again.")},
	{shard.ErrNoTable, serviceUnavailable.says("The cluster is not formed yet. Please try again when all its nodes have joined.")},
	{shard.ErrFailed, serviceUnavailable.says("A disk of this cluster failed to write and takes no more: see hive status.")},
	{shard.ErrClosed, serviceUnavailable.says("This node is shutting down. Please try again.")},
}

// blobError is what a client is told of an error of the blob store, or of the body that it read.
func (s *Service) blobError(ctx context.Context, t target, doing string, err error) error {
	var answer *protocol.Error
	if errors.As(err, &answer) || ctx.Err() != nil {
		return err
	}
	for _, row := range blobFaults {
		if errors.Is(err, row.cause) {
			return row.answer
		}
	}
	s.cfg.Log.Error("blob store failed", "doing", doing, "bucket", t.bucket, "key", t.key, "err", err)
	return internalError.with()
}

// groupError is what a client is told when a group cannot be asked: no leader, no quorum, or too
// slow. What a Check refused is the operation's own to explain.
func (s *Service) groupError(ctx context.Context, err error) error {
	if err == nil || refused(err) || ctx.Err() != nil {
		return err
	}
	s.cfg.Log.Warn("group did not answer", "err", err)
	return serviceUnavailable.says("No quorum of the cluster's nodes answers. Please try again.")
}

// refused tells that a proposal was not committed and never will be.
func refused(err error) bool {
	var refusal *fsm.Error
	return errors.As(err, &refusal)
}

// groupDeadline is how long a group may take to answer: longer than the choice of a new leader takes.
const groupDeadline = 12 * time.Second

// propose commits cmd in g.
func (s *Service) propose(ctx context.Context, g Group, cmd fsm.Command) error {
	limited, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return s.groupError(ctx, g.Propose(limited, cmd))
}

// readIndex waits until this node's state is as of now.
func (s *Service) readIndex(ctx context.Context, g Group) error {
	limited, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return s.groupError(ctx, g.ReadIndex(limited))
}

// view reads a group's state as of now.
func (s *Service) view(ctx context.Context, g Group, fn func(*fsm.View) error) error {
	if err := s.readIndex(ctx, g); err != nil {
		return err
	}
	return s.local(g, fn)
}

// local reads a group's state as this node knows it.
func (s *Service) local(g Group, fn func(*fsm.View) error) error {
	err := g.View(fn)
	if errors.Is(err, fsm.ErrStateCorrupt) {
		s.cfg.Log.Error("state cannot be read", "err", err)
		return internalError.with()
	}
	return err
}

func preconditionOf(err error, t target, condition string) error {
	switch {
	case errors.Is(err, fsm.ErrExists), errors.Is(err, fsm.ErrInvalid):
		return preconditionFailed.with("Condition", condition)
	case errors.Is(err, fsm.ErrNotFound):
		return noSuchKey.with("Key", t.key)
	}
	return err
}

// codeOf is the AWS code of an answer, "" when err is none.
func codeOf(err error) string {
	var answer *protocol.Error
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

func badToken() error {
	return invalidArgument.says("The continuation token provided is incorrect", "ArgumentName", "continuation-token")
}
