package awsd

import (
	"net/http"

	"hive/awsd/protocol"
)

// unsupported answers an operation of the model that has no handler. Sources: "Error codes for the Amazon
// EC2 API", "Common errors" of the IAM API, "Error responses" of the S3 API.
func unsupported(api *protocol.API, op string) *protocol.Error {
	switch api.Service {
	case "s3":
		return protocol.Errorf(http.StatusNotImplemented, "NotImplemented", "%s is functionality that is not implemented.", op)
	case "ebs":
		return protocol.Errorf(http.StatusNotFound, "UnknownOperationException", "The operation %s is not supported.", op)
	case "cloudtrail":
		return protocol.Errorf(http.StatusBadRequest, "UnsupportedOperationException", "The operation %s is not supported.", op)
	case "tagging":
		return protocol.Errorf(http.StatusBadRequest, "UnknownOperationException", "The operation %s is not supported.", op)
	case "ec2":
		return protocol.Errorf(http.StatusBadRequest, "UnsupportedOperation", "The operation %s is not supported.", op)
	}
	return protocol.Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", op, api.Version)
}

// internalError answers for a fault of ours, which the log tells and the client does not get to see.
func internalError(api *protocol.API) *protocol.Error {
	code := "InternalFailure"
	switch api.Service {
	case "s3", "ec2":
		code = "InternalError"
	case "ebs":
		code = "InternalServerException"
	case "tagging":
		code = "InternalServiceException"
	}
	return protocol.Errorf(http.StatusInternalServerError, code, "We encountered an internal error. Please try again.")
}

func errMalformedForm() *protocol.Error {
	return protocol.Errorf(http.StatusNotFound, "MalformedQueryString", "The query string contains a syntax error.")
}

func errPostPolicy() *protocol.Error {
	return protocol.Errorf(http.StatusNotImplemented, "NotImplemented",
		"Uploads by an HTML form with a POST policy are not supported; use PutObject or a presigned PUT URL.")
}
