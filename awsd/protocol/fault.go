package protocol

import "net/http"

// EncodeError answers a request with an error. A HEAD request and a 304 get no body; an error without a status
// is the server's fault, 500.
func (a *API) EncodeError(w http.ResponseWriter, r *http.Request, requestID string, err *Error) {
	err = a.reword(err)
	h := w.Header()
	for name, values := range err.Header {
		h[name] = values
	}
	setRequestID(h, a.protocol, requestID)
	status := err.Status
	if status < http.StatusMultipleChoices {
		status = http.StatusInternalServerError
	}
	if r.Method == http.MethodHead || status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	if a.SpeaksJSON() {
		// The client went away when this fails, and there is no other answer left to give it.
		_ = sendJSONError(w, a.protocol, status, err)
		return
	}
	x := a.writer()
	defer a.release(x)
	x.buf = append(x.buf, xmlHeader...)
	switch a.protocol {
	case "ec2Query":
		x.ec2Error(err, requestID)
	case "awsQuery":
		x.queryError(a.namespace, err, status, requestID)
	default:
		x.s3Error(err, r.URL.Path, requestID)
	}
	// The client went away when this fails, and there is no other answer left to give it.
	_ = send(w, status, contentType(a.protocol), x.buf)
}

// reword gives what other rooms refuse, in the words of most services, the words of awsJson1_1's: their refusals are
// all 400.
func (a *API) reword(err *Error) *Error {
	if a.protocol != protocolJSON || err.Code != "AccessDenied" {
		return err
	}
	worded := *err
	worded.Code, worded.Status = "AccessDeniedException", http.StatusBadRequest
	return &worded
}

func (x *xmlWriter) codeAndMessage(err *Error) {
	x.leaf("Code", err.Code)
	x.leaf("Message", err.Message)
}

func (x *xmlWriter) extras(err *Error) {
	for _, f := range err.Fields {
		x.leaf(f.Name, f.Value)
	}
}

func (x *xmlWriter) ec2Error(err *Error, requestID string) {
	x.open("Response", "")
	x.open("Errors", "")
	x.open("Error", "")
	x.codeAndMessage(err)
	x.extras(err)
	x.close("Error")
	x.close("Errors")
	x.leaf("RequestID", requestID)
	x.close("Response")
}

func (x *xmlWriter) queryError(namespace string, err *Error, status int, requestID string) {
	x.open("ErrorResponse", ` xmlns="`+namespace+`"`)
	x.open("Error", "")
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	x.leaf("Type", fault)
	x.codeAndMessage(err)
	x.extras(err)
	x.close("Error")
	x.leaf("RequestId", requestID)
	x.close("ErrorResponse")
}

func (x *xmlWriter) s3Error(err *Error, resource, requestID string) {
	x.open("Error", "")
	x.codeAndMessage(err)
	x.extras(err)
	x.leaf("Resource", resource)
	x.leaf("RequestId", requestID)
	x.leaf("HostId", requestID)
	x.close("Error")
}
