package sigv4

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

// Form is where a request carries its signature.
type Form uint8

const (
	Anonymous Form = iota // nowhere
	Header                // in the Authorization header
	Query                 // in the parameters of a presigned URL
)

// Claim is what a request says of its own signature: read, and nothing of it proved. A request that says it
// badly has a claim too, with as much in it as could be read; Verify tells what is wrong.
type Claim struct {
	Form    Form
	KeyID   string
	Date    string // of the scope: 20060102
	Region  string
	Service string // the signing name; "" when the request is anonymous or its scope cannot be read

	signedHeaders string // "host;x-amz-date"
	signature     string // 64 lower-case hex digits
	stamp         string // of X-Amz-Date: 20060102T150405Z
	time          time.Time
	expires       time.Duration // of a presigned URL
	token         string
	values        url.Values // of a presigned URL
	version2      bool       // AWS Signature Version 2: KeyID, signature, stamp as sent and time (the end of a URL) are set
	fault         func(dialect) *protocol.Error
}

// Unsigned tells whether a request carries no signature, also no broken one.
func (c *Claim) Unsigned() bool { return c.Form == Anonymous && !c.version2 && c.fault == nil }

// Signing is how the request is signed, as policies may ask for it.
func (c *Claim) Signing(r *http.Request) principal.Signing {
	out := principal.Signing{Version: algorithm, Time: c.time, Payload: r.Header.Get("X-Amz-Content-Sha256")}
	if c.version2 {
		out.Version = scheme2
	}
	switch c.Form {
	case Anonymous:
		return principal.Signing{Payload: out.Payload}
	case Header:
		out.Place = "REST-HEADER"
	case Query:
		out.Place = "REST-QUERY-STRING"
		if c.version2 {
			out.Time = time.Time{} // its time is the end of the URL
		}
	}
	return out
}

// scope is the credential scope as a string to sign has it.
func (c *Claim) scope() string {
	return c.Date + "/" + c.Region + "/" + c.Service + "/" + terminator
}

// Read finds the claim of a request. It allocates little and never fails.
func Read(r *http.Request) *Claim {
	c := &Claim{}
	auth, headed := r.Header["Authorization"]
	v4, v2 := c.findParameters(r.URL.RawQuery)
	switch {
	case headed && (v4 || v2), v4 && v2:
		c.fault = func(d dialect) *protocol.Error { return d.twoMechanisms() }
	case headed && len(auth) != 1:
		c.fault = func(d dialect) *protocol.Error { return d.malformed("more than one Authorization header was sent") }
	case headed:
		c.Form = Header
		c.readHeader(auth[0], r)
	case v4:
		c.Form = Query
		c.readParameters()
	case v2:
		c.Form = Query
		c.readParameters2()
	}
	return c
}

// findParameters tells whether a query string carries a signature, of Version 4 or 2, and keeps its values
// if so.
func (c *Claim) findParameters(query string) (v4, v2 bool) {
	if !strings.Contains(query, "X-Amz-") && !strings.Contains(query, "Signature=") {
		return false, false
	}
	values, err := parseValues(query)
	if err != nil {
		return false, false // the router will refuse it
	}
	c.values = values
	return values.Has("X-Amz-Algorithm") || values.Has("X-Amz-Signature") || values.Has("X-Amz-Credential"), values.Has("Signature")
}

// parseValues is url.ParseQuery, but ';' is a byte like others.
func parseValues(query string) (url.Values, error) {
	return url.ParseQuery(strings.ReplaceAll(query, ";", "%3B"))
}

// refuse2 is what Verify will answer, if it is S3 that is asked.
func (c *Claim) refuse2(err *protocol.Error) {
	c.fault = func(dialect) *protocol.Error { return err }
}

// readHeader reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…".
func (c *Claim) readHeader(auth string, r *http.Request) {
	name, rest, _ := strings.Cut(auth, " ")
	if name == scheme2 {
		c.readHeader2(rest, r)
		return
	}
	if name != algorithm {
		c.fault = func(d dialect) *protocol.Error { return d.unsupported(name) }
		return
	}
	var credential string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case ok && name == "Credential":
			credential = value
		case ok && name == "SignedHeaders":
			c.signedHeaders = value
		case ok && name == "Signature":
			c.signature = value
		}
	}
	if missing := firstEmpty("Credential", credential, "SignedHeaders", c.signedHeaders, "Signature", c.signature); missing != "" {
		c.readCredential(credential)
		c.fault = func(d dialect) *protocol.Error { return d.incomplete(missing) }
		return
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	c.readCredential(credential)
	c.checkParts()
	c.readDate(r)
}

// readParameters reads the X-Amz-… parameters of a presigned URL.
func (c *Claim) readParameters() {
	get := c.values.Get
	if a := get("X-Amz-Algorithm"); a != "" && a != algorithm {
		c.fault = func(d dialect) *protocol.Error { return d.unsupported(a) }
		return
	}
	c.signedHeaders, c.signature, c.token = get("X-Amz-SignedHeaders"), get("X-Amz-Signature"), get("X-Amz-Security-Token")
	c.readCredential(get("X-Amz-Credential"))
	expires := get("X-Amz-Expires")
	if expires == "" && c.Service != serviceS3 {
		expires = "900"
	}
	missing := firstEmpty("X-Amz-Algorithm", get("X-Amz-Algorithm"), "X-Amz-Credential", get("X-Amz-Credential"),
		"X-Amz-Signature", c.signature, "X-Amz-Date", get("X-Amz-Date"),
		"X-Amz-SignedHeaders", c.signedHeaders, "X-Amz-Expires", expires)
	if missing != "" {
		c.fault = func(d dialect) *protocol.Error { return d.incomplete(missing) }
		return
	}
	c.checkParts()
	c.setStamp(get("X-Amz-Date"))
	c.setExpires(expires)
}

// readCredential reads "AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request".
func (c *Claim) readCredential(s string) {
	var ok [4]bool
	var end string
	c.KeyID, s, ok[0] = strings.Cut(s, "/")
	c.Date, s, ok[1] = strings.Cut(s, "/")
	c.Region, s, ok[2] = strings.Cut(s, "/")
	c.Service, end, ok[3] = strings.Cut(s, "/")
	what := ""
	switch {
	case ok != [4]bool{true, true, true, true}:
		what = "the Credential is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\""
	case c.KeyID == "":
		what = "a non-empty Access Key (AKID) must be provided in the credential"
	case len(c.Date) != 8 || !digits(c.Date):
		what = "incorrect date format in the credential; this date must be in the format \"yyyyMMdd\""
	case end != terminator:
		what = "incorrect terminal in the credential; this endpoint uses \"aws4_request\""
	default:
		return
	}
	c.fault = func(d dialect) *protocol.Error { return d.malformed(what) }
}

// checkParts holds the signed headers and the signature against their form.
func (c *Claim) checkParts() {
	what := ""
	switch {
	case len(c.signature) != 64 || strings.Trim(c.signature, "0123456789abcdef") != "":
		what = "the Signature must be 64 lower-case hexadecimal digits"
	case strings.ToLower(c.signedHeaders) != c.signedHeaders:
		what = "the names in SignedHeaders must be in lower case"
	case !c.signs("host"):
		what = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization"
	}
	if what != "" && c.fault == nil {
		c.fault = func(d dialect) *protocol.Error { return d.malformed(what) }
	}
}

// readDate takes the time of the signature from X-Amz-Date, or else from Date.
func (c *Claim) readDate(r *http.Request) {
	if stamp := r.Header.Get("X-Amz-Date"); stamp != "" {
		c.setStamp(stamp)
		return
	}
	date := r.Header.Get("Date")
	if t, err := http.ParseTime(date); err == nil {
		c.time, c.stamp = t.UTC(), t.UTC().Format(stampForm)
		return
	}
	c.setStamp(date)
}

func (c *Claim) setStamp(stamp string) {
	t, err := time.Parse(stampForm, stamp)
	if err != nil && c.fault == nil {
		c.fault = func(d dialect) *protocol.Error { return d.noDate() }
	}
	c.time, c.stamp = t, stamp
}

func (c *Claim) setExpires(s string) {
	n, err := strconv.ParseInt(s, 10, 64)
	what := ""
	switch {
	case err != nil:
		what = "X-Amz-Expires should be a number"
	case n < 0:
		what = "X-Amz-Expires must be non-negative"
	case n > MaxExpires:
		what = "X-Amz-Expires must be less than a week (in seconds) that is 604800"
	}
	if what != "" && c.fault == nil {
		c.fault = func(d dialect) *protocol.Error { return d.malformed(what) }
	}
	c.expires = time.Duration(n) * time.Second
}

// signs tells whether a header, by its lower-case name, is among the signed ones.
func (c *Claim) signs(name string) bool {
	for s := range strings.SplitSeq(c.signedHeaders, ";") {
		if s == name {
			return true
		}
	}
	return false
}

// firstEmpty returns the first name of name-value pairs whose value is empty.
func firstEmpty(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return pairs[i]
		}
	}
	return ""
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
