package sigv4

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"hive/awsd/protocol"
)

// dialect is how a kind of service words its refusals. Sources: "Error responses" of the S3 API Reference,
// "Error codes for the Amazon EC2 API", "Common errors" of the IAM API Reference.
type dialect uint8

const (
	dialectQuery dialect = iota // iam, sts and whatever else speaks awsQuery
	dialectEC2
	dialectS3
	dialectJSON   // ebs: restJson1
	dialectTarget // cloudtrail, tagging: awsJson1_1
)

func dialectOf(service string) dialect {
	switch service {
	case serviceS3:
		return dialectS3
	case "ec2":
		return dialectEC2
	case serviceEBS:
		return dialectJSON
	case "cloudtrail", "tagging":
		return dialectTarget
	}
	return dialectQuery
}

func refuse(status int, code, message string, fields ...protocol.Field) *protocol.Error {
	return &protocol.Error{Status: status, Code: code, Message: message, Fields: fields}
}

// missing: the request has no signature.
func (d dialect) missing() *protocol.Error {
	if d == dialectEC2 {
		return refuse(http.StatusForbidden, "MissingAuthenticationToken", "The request must contain valid credentials.")
	}
	return refuse(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
}

// malformed: a part of the signature is not in its form.
func (d dialect) malformed(what string) *protocol.Error {
	if d == dialectS3 {
		if strings.HasPrefix(what, "X-Amz-") {
			return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", what)
		}
		return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+what+".")
	}
	return refuse(http.StatusBadRequest, "IncompleteSignature", what)
}

// incomplete: a part of the signature is not there.
func (d dialect) incomplete(part string) *protocol.Error {
	query := strings.HasPrefix(part, "X-Amz-")
	switch {
	case d == dialectS3 && query:
		return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", "Query-string authentication version 4 requires the "+
			"X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	case d == dialectS3:
		return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; the authorization header requires three components: "+
			"Credential, SignedHeaders, and Signature.")
	case query:
		return refuse(http.StatusBadRequest, "IncompleteSignature", "AWS query-string parameters must include '"+part+"'.")
	}
	return refuse(http.StatusBadRequest, "IncompleteSignature", "Authorization header requires '"+part+"' parameter.")
}

// unsupported: signed by another algorithm.
func (d dialect) unsupported(string) *protocol.Error {
	if d == dialectS3 {
		return refuse(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	}
	return refuse(http.StatusBadRequest, "IncompleteSignature", "Unsupported signing algorithm. Please use AWS4-HMAC-SHA256.")
}

// twoMechanisms: a header and parameters both carry a signature.
func (d dialect) twoMechanisms() *protocol.Error {
	const message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
	if d == dialectS3 {
		return refuse(http.StatusBadRequest, "InvalidArgument", message)
	}
	return refuse(http.StatusBadRequest, "IncompleteSignature", message)
}

// noDate: no time of signing can be read.
func (d dialect) noDate() *protocol.Error {
	if d == dialectS3 {
		return refuse(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	return refuse(http.StatusBadRequest, "IncompleteSignature", "Date must be in ISO-8601 'basic format'. Authorization requires a valid 'X-Amz-Date' or 'Date'.")
}

// wrongDate: the scope is of another day.
func (d dialect) wrongDate(c *Claim) *protocol.Error {
	message := "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" + c.Date + "' != '" + c.stamp[:8] + "', from '" + c.stamp + "'."
	return d.wrongScope(c, "Invalid credential date "+strconv.Quote(c.Date)+". This date is not the same as X-Amz-Date: "+strconv.Quote(c.stamp[:8])+".", message)
}

// wrongService: the scope is of another service than the endpoint is.
func (d dialect) wrongService(c *Claim, service string) *protocol.Error {
	return d.wrongScope(c, "incorrect service "+strconv.Quote(c.Service)+". This endpoint belongs to "+strconv.Quote(service)+".",
		"Credential should be scoped to correct service: '"+service+"'.")
}

// wrongRegion: the scope is of another region. S3 clients read the right one and sign again.
func (d dialect) wrongRegion(c *Claim, region string) *protocol.Error {
	err := d.wrongScope(c, "the region '"+c.Region+"' is wrong; expecting '"+region+"'", "Credential should be scoped to a valid region.")
	if d == dialectS3 {
		err.Fields = append(err.Fields, protocol.Field{Name: "Region", Value: region})
		err.Header = http.Header{"X-Amz-Bucket-Region": {region}}
	}
	return err
}

func (d dialect) wrongScope(c *Claim, s3Message, message string) *protocol.Error {
	switch {
	case d == dialectS3 && c.Form == Query:
		return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter; "+s3Message)
	case d == dialectS3:
		return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+s3Message)
	}
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", message)
}

// skewed: the request's clock and ours are too far apart.
func (d dialect) skewed(c *Claim, now time.Time) *protocol.Error {
	switch {
	case d == dialectS3:
		return refuse(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
			protocol.Field{Name: "RequestTime", Value: c.stamp},
			protocol.Field{Name: "ServerTime", Value: now.UTC().Format(time.RFC3339)},
			protocol.Field{Name: "MaxAllowedSkewMilliseconds", Value: strconv.FormatInt(MaxSkew.Milliseconds(), 10)})
	case c.time.After(now):
		return d.notYet(c, now)
	case d == dialectEC2:
		return refuse(http.StatusBadRequest, "RequestExpired", "Request has expired.")
	}
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 15 min.)",
		c.stamp, stamp(now.Add(-MaxSkew)), stamp(now)))
}

// notYet: signed in the future.
func (d dialect) notYet(c *Claim, now time.Time) *protocol.Error {
	switch d {
	case dialectS3:
		return refuse(http.StatusForbidden, "AccessDenied", "Request is not yet valid",
			protocol.Field{Name: "ServerTime", Value: now.UTC().Format(time.RFC3339)})
	case dialectEC2:
		return refuse(http.StatusBadRequest, "RequestExpired", "Request has expired. Its date stamp is more than 15 minutes in the future.")
	}
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 15 min.)",
		c.stamp, stamp(now.Add(MaxSkew)), stamp(now)))
}

// expired: a presigned URL has outlived itself.
func (d dialect) expired(c *Claim, now time.Time) *protocol.Error {
	end := c.time.Add(c.expires)
	switch d {
	case dialectS3:
		fields := []protocol.Field{{Name: "X-Amz-Expires", Value: strconv.FormatInt(int64(c.expires/time.Second), 10)},
			{Name: "Expires", Value: end.UTC().Format(time.RFC3339)}, {Name: "ServerTime", Value: now.UTC().Format(time.RFC3339)}}
		if c.version2 {
			fields = fields[1:]
		}
		return refuse(http.StatusForbidden, "AccessDenied", "Request has expired", fields...)
	case dialectEC2:
		return refuse(http.StatusBadRequest, "RequestExpired", "Request has expired.")
	}
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", "Signature expired: "+stamp(end)+" is now earlier than "+stamp(now)+".")
}

func stamp(t time.Time) string { return t.UTC().Format(stampForm) }

// unknownKey: the access key does not exist or is not active.
func (d dialect) unknownKey(id string) *protocol.Error {
	switch d {
	case dialectS3:
		return refuse(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
			protocol.Field{Name: "AWSAccessKeyId", Value: id})
	case dialectEC2:
		return refuse(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	return refuse(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

// badToken: the session token is not one that belongs to the key.
func (d dialect) badToken(token string) *protocol.Error {
	if d == dialectS3 {
		return refuse(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.",
			protocol.Field{Name: "Token-0", Value: token})
	}
	return d.unknownKey("")
}

// expiredToken: the session of temporary credentials is over.
func (d dialect) expiredToken(token string) *protocol.Error {
	switch d {
	case dialectS3:
		return refuse(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.", protocol.Field{Name: "Token-0", Value: token})
	case dialectEC2:
		return refuse(http.StatusBadRequest, "RequestExpired", "Request has expired.")
	case dialectJSON, dialectTarget:
		return refuse(http.StatusForbidden, "ExpiredTokenException", "The security token included in the request is expired")
	}
	return refuse(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
}

// mismatch: the signature is not the one that the secret gives.
func (d dialect) mismatch(c *Claim, stringToSign, canonical []byte) *protocol.Error {
	switch d {
	case dialectS3:
		fields := []protocol.Field{{Name: "AWSAccessKeyId", Value: c.KeyID},
			{Name: "StringToSign", Value: string(stringToSign)}, {Name: "SignatureProvided", Value: c.signature},
			{Name: "StringToSignBytes", Value: fmt.Sprintf("% x", stringToSign)},
			{Name: "CanonicalRequest", Value: string(canonical)}, {Name: "CanonicalRequestBytes", Value: fmt.Sprintf("% x", canonical)}}
		if c.version2 {
			fields = fields[:4]
		}
		return refuse(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.", fields...)
	case dialectEC2:
		return refuse(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

// What only S3 says, about a request and its payload.

func errInvalid(message string) *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidRequest", message)
}

func errUnsignedChunks() *protocol.Error {
	return errInvalid("The payload says that its chunks are signed, but the request is not signed with AWS4-HMAC-SHA256.")
}

func errHeader2(auth string) *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidArgument", "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
		protocol.Field{Name: "ArgumentName", Value: "Authorization"}, protocol.Field{Name: "ArgumentValue", Value: auth})
}

func errParameters2() *protocol.Error {
	return refuse(http.StatusForbidden, "AccessDenied", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
}

func errExpires2(value string) *protocol.Error {
	return refuse(http.StatusForbidden, "AccessDenied", "Invalid date (should be seconds since epoch): "+value)
}

func errUnsigned2(name string) *protocol.Error {
	return refuse(http.StatusForbidden, "AccessDenied", "Signature Version 2 does not sign the query parameter "+name+
		", so that a presigned URL must not have it. Please use AWS4-HMAC-SHA256.")
}

func errAmbiguous2(name string) *protocol.Error {
	return refuse(http.StatusForbidden, "AccessDenied", "Signature Version 2 cannot tell the value of "+name+
		" from further query parameters. Please use AWS4-HMAC-SHA256.")
}

func errQuery() *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
}

func errUnsignedHeaders(names string) *protocol.Error {
	return refuse(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed",
		protocol.Field{Name: "HeadersNotSigned", Value: names})
}

func errNoContentHash() *protocol.Error {
	return errInvalid("Missing required header for this request: x-amz-content-sha256")
}

func errContentHash(value string) *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidArgument", "x-amz-content-sha256 must be "+unsignedPayload+", "+unsignedTrailer+", "+
		streamingSigned+", "+streamingTrailers+" or a valid sha256 value.",
		protocol.Field{Name: "ArgumentName", Value: "x-amz-content-sha256"}, protocol.Field{Name: "ArgumentValue", Value: value})
}

func errPayloadHash(claimed, computed string) *protocol.Error {
	return refuse(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
		protocol.Field{Name: "ClientComputedContentSHA256", Value: claimed}, protocol.Field{Name: "S3ComputedContentSHA256", Value: computed})
}

func errNoLength() *protocol.Error {
	return refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header; an aws-chunked payload needs x-amz-decoded-content-length.")
}

func errDecodedLength(value string) *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidArgument", "x-amz-decoded-content-length must be a non-negative number.",
		protocol.Field{Name: "ArgumentName", Value: "x-amz-decoded-content-length"}, protocol.Field{Name: "ArgumentValue", Value: value})
}

func errIncomplete() *protocol.Error {
	return refuse(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
}

func errTooMuch() *protocol.Error {
	return refuse(http.StatusBadRequest, "IncompleteBody", "The payload has more bytes than x-amz-decoded-content-length says.")
}

func errFraming(what string) *protocol.Error {
	return errInvalid("The aws-chunked payload is malformed: " + what + ".")
}

func errSmallChunk() *protocol.Error {
	return refuse(http.StatusForbidden, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than "+strconv.Itoa(minChunk)+" bytes")
}

func errChunkSignature() *protocol.Error {
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch",
		"The request signature we calculated does not match the signature you provided: that of a chunk or of the trailers. Check your key and signing method.")
}

func errTrailers() *protocol.Error {
	return refuse(http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

func errNoTrailer() *protocol.Error {
	return errInvalid("x-amz-content-sha256 says that trailing headers follow, but x-amz-trailer does not name one.")
}

func errStrayTrailer() *protocol.Error {
	return errInvalid("x-amz-trailer names a trailing header, but x-amz-content-sha256 does not say that one follows.")
}

func errTrailerName() *protocol.Error {
	return errInvalid("The value specified in the x-amz-trailer header is not supported")
}

func errChecksumAlgorithm() *protocol.Error {
	return errInvalid("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5]")
}

func errManyChecksums() *protocol.Error {
	return errInvalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

func errChecksumValue(name string) *protocol.Error {
	return errInvalid("Value for " + checksumPrefix + name + " header is invalid.")
}

func errNoChecksum() *protocol.Error {
	return errInvalid("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
}

func errBadChecksum(name string) *protocol.Error {
	return refuse(http.StatusBadRequest, "BadDigest", "The "+strings.ToUpper(name)+" you specified did not match the calculated checksum.")
}

func errMD5Value() *protocol.Error {
	return refuse(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.")
}

func errBadMD5() *protocol.Error {
	return refuse(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
}

func errFormTooLarge() *protocol.Error {
	return refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is larger than "+strconv.Itoa(maxForm)+" bytes.")
}

// readError words an error of reading a payload; a *protocol.Error is one already.
func readError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errIncomplete()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusBadRequest, "RequestTimeout",
			"Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.")
	}
	return err
}

// jsonCodes are the codes of the query services as those of JSON have them. Source: "Common errors" of the EBS direct
// APIs' reference.
var jsonCodes = map[string]string{
	"MissingAuthenticationToken": "MissingAuthenticationTokenException",
	"IncompleteSignature":        "IncompleteSignatureException",
	"SignatureDoesNotMatch":      "InvalidSignatureException",
	"InvalidClientTokenId":       "UnrecognizedClientException",
}

// reword gives a refusal the code that it has in the dialect.
func (d dialect) reword(err error) error {
	refusal, ok := err.(*protocol.Error)
	if !ok || d != dialectJSON && d != dialectTarget {
		return err
	}
	worded := *refusal
	if code := jsonCodes[refusal.Code]; code != "" {
		worded.Code = code
	}
	if d == dialectTarget && worded.Status == http.StatusForbidden {
		worded.Status = http.StatusBadRequest // as all that awsJson's services refuse
	}
	return &worded
}
