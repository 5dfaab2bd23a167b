package awsd

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hive/awsd/protocol"
	"hive/awsd/sigv4"
)

// maxHeaders is how many different headers a request may have. net/http holds the sum of their bytes to
// maxHeaderBytes before a request gets here.
const maxHeaders = 256

// maxFormPairs bounds the parameters of a query request; RunInstances at its limits has some hundreds.
const maxFormPairs = 20_000

// checkHeaders refuses a request with too many headers.
func checkHeaders(r *http.Request) error {
	if len(r.Header) > maxHeaders {
		return protocol.Errorf(http.StatusBadRequest, "RequestHeaderSectionTooLarge", "Your request has more than %d headers.", maxHeaders)
	}
	return nil
}

// newFront makes the front of a listener that offers the services of these names, nil being all.
func (s *Server) newFront(names []string) *front {
	f := &front{Server: s, services: map[string]*Service{}}
	for i := range s.Services {
		svc := &s.Services[i]
		name := svc.API.Service
		if names != nil && !slices.Contains(names, name) {
			continue
		}
		f.services[name] = svc
		if f.fallback == nil || name == "s3" {
			f.fallback = svc
		}
	}
	return f
}

// choose finds the service that a request is for: the one that its signature is scoped to, or else the one
// that its host, its parameters or its form point to, or else S3, which alone has anonymous callers.
func (x *exchange) choose(r *http.Request, claim *sigv4.Claim) error {
	svc := x.services[claim.Service]
	if svc == nil {
		svc = x.guess(r)
	}
	x.service = svc
	x.setID()
	if claim.Service != "" && x.services[claim.Service] == nil && len(x.services) > 1 {
		return protocol.Errorf(http.StatusForbidden, "SignatureDoesNotMatch",
			"Credential should be scoped to correct service: this endpoint serves %s, not '%s'.", strings.Join(x.names(), ", "), claim.Service)
	}
	return nil
}

// names are the services on offer, in order.
func (f *front) names() []string {
	var names []string
	for name := range f.services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// guess finds the service of a request whose signature does not tell it.
func (f *front) guess(r *http.Request) *Service {
	if len(f.services) == 1 || bucketOf(r.Host, f.Domains) != "" {
		return f.fallback // S3, where there are several
	}
	label, _, _ := strings.Cut(hostname(r.Host), ".")
	if svc := f.services[label]; svc != nil {
		return svc
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		for _, svc := range f.services {
			if svc.API.IsTarget(target) {
				return svc
			}
		}
	}
	form, _ := url.ParseQuery(r.URL.RawQuery) // what cannot be read points nowhere
	if isForm(r) && r.URL.Path == "/" {
		form = peekForm(r)
	}
	if !form.Has("Action") {
		return f.fallback
	}
	for _, svc := range f.services {
		if svc.API.Version == form.Get("Version") {
			return svc
		}
	}
	return f.fallback
}

// isForm tells whether a request posts the kind of form that query services take.
func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// peekForm reads the beginning of a form and puts it back.
func peekForm(r *http.Request) url.Values {
	const enough = 4096
	head, _ := io.ReadAll(io.LimitReader(r.Body, enough)) // whoever reads on meets the error again
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
	form, _ := url.ParseQuery(string(head)) // what cannot be read points nowhere
	return form
}

// formOf gathers the parameters of a request to a query service, from its query string and from its body.
func formOf(api *protocol.API, r *http.Request, body *sigv4.Body) (url.Values, error) {
	raw, ok := body.Buffered()
	if !ok || !api.TakesForm() {
		return nil, nil
	}
	if bytes.Count(raw, []byte{'&'}) > maxFormPairs {
		return nil, protocol.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request has more than %d parameters.", maxFormPairs)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, errMalformedForm()
	}
	if r.URL.RawQuery == "" {
		return form, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errMalformedForm()
	}
	for name, values := range query {
		form[name] = append(form[name], values...)
	}
	return form, nil
}

// bucketFromHost makes a path-style request of one that names its bucket in the host.
func bucketFromHost(r *http.Request, s *Service, domains []string) {
	if s.API.Service != "s3" {
		return
	}
	bucket := bucketOf(r.Host, domains)
	if bucket == "" {
		return
	}
	u := *r.URL
	u.RawPath = "/" + bucket + r.URL.EscapedPath()
	u.Path = "/" + bucket + r.URL.Path
	r.URL = &u
}

// bucketOf is the part of a host before one of the domains, "" when it is not below any.
func bucketOf(host string, domains []string) string {
	if len(domains) == 0 {
		return ""
	}
	host = hostname(host)
	for _, domain := range domains {
		if bucket, ok := strings.CutSuffix(host, "."+domain); ok {
			return bucket
		}
	}
	return ""
}

// hostname is a Host header's value in lower case and without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(host)
}

// expectMD5 has a payload held against its Content-MD5. PutObject and UploadPart compute the MD5 anyway, for
// the ETag, and do it themselves: once is expensive enough.
func expectMD5(r *http.Request, op *protocol.Operation, body *sigv4.Body) error {
	sum := r.Header.Get("Content-Md5")
	if _, ok := body.Buffered(); sum == "" || ok || op.Name == "PutObject" || op.Name == "UploadPart" {
		return nil
	}
	return body.ExpectMD5(sum)
}

// isPostPolicy tells whether a request is an upload by an HTML form.
func isPostPolicy(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
}
