package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hive/iam/principal"
)

// Signature Version 2, which S3 alone still takes, in the Authorization header and in presigned URLs
// (boto3's unless told otherwise). It signs no payload. Source: "Signing and authenticating REST requests
// (AWS Signature Version 2)" of the S3 User Guide. The string to sign is
//
//	method LF Content-MD5 LF Content-Type LF (Date | Expires | "" beside x-amz-date) LF
//	{ x-amz-header ":" value { "," value } LF }                  in order of the names
//	["/" bucket of the host] path as sent ["?" sub-resource ["=" value] { "&" … }]

// scheme2 is how the Authorization header names Version 2.
const scheme2 = "AWS"

// readHeader2 reads "<access key id>:<signature>" of "AWS <access key id>:<signature>".
func (c *Claim) readHeader2(rest string, r *http.Request) {
	c.version2 = true
	var ok bool
	c.KeyID, c.signature, ok = strings.Cut(rest, ":")
	if !ok || c.signature == "" || strings.Contains(c.signature, ":") {
		c.refuse2(errHeader2(scheme2 + " " + rest))
		return
	}
	c.stamp = r.Header.Get("Date")
	if _, ok := r.Header["X-Amz-Date"]; ok {
		c.stamp = r.Header.Get("X-Amz-Date")
	}
	for _, form := range []string{http.TimeFormat, time.RFC1123Z, stampForm, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(form, c.stamp); err == nil {
			c.time = t
			return
		}
	}
	c.refuse2(dialectS3.noDate())
}

// readParameters2 reads AWSAccessKeyId, Expires (seconds since 1970, in 32 bits as AWS has it) and
// Signature.
func (c *Claim) readParameters2() {
	c.version2 = true
	c.KeyID, c.stamp, c.signature = c.values.Get("AWSAccessKeyId"), c.values.Get("Expires"), c.values.Get("Signature")
	if firstEmpty("id", c.KeyID, "expires", c.stamp, "signature", c.signature) != "" {
		c.refuse2(errParameters2())
		return
	}
	n, err := strconv.ParseInt(c.stamp, 10, 32)
	if err != nil {
		c.refuse2(errExpires2(c.stamp))
		return
	}
	c.time = time.Unix(n, 0)
}

// verify2 proves a claim of Version 2.
func (v *Verifier) verify2(r *http.Request, c *Claim) (*principal.Caller, *Body, error) {
	if err := v.checkTime(c, dialectS3); err != nil {
		return nil, nil, err
	}
	values, err := parseValues(r.URL.RawQuery)
	if err != nil {
		return nil, nil, errQuery()
	}
	if c.Form == Query {
		if err := adoptParameters2(r, values); err != nil {
			return nil, nil, err
		}
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	secret, caller, err := v.secret(r, c, dialectS3)
	if err != nil {
		return nil, nil, err
	}
	if err := v.checkSignature2(r, c, values, secret); err != nil {
		return nil, nil, err
	}
	body, err := v.openUnsigned(r, c, dialectS3)
	if err != nil {
		return nil, nil, err
	}
	return &caller, body, nil
}

// checkSignature2 computes the signature of a request and compares. A bucket alone in the path may have
// been signed with a slash behind it, as botocore does whatever it then sends.
func (v *Verifier) checkSignature2(r *http.Request, c *Claim, values url.Values, secret string) error {
	resource, err := v.resource2(r, values)
	if err != nil {
		return err
	}
	head := head2(r, c)
	text := head + resource
	if signed2(secret, text, c.signature) {
		return nil
	}
	path, query, _ := strings.Cut(resource, "?")
	if path != "/" && strings.LastIndexByte(path, '/') == 0 {
		if signed2(secret, head+path+"/"+resource[len(path):len(resource)-len(query)]+query, c.signature) {
			return nil
		}
	}
	return dialectS3.mismatch(c, []byte(text), nil)
}

// signed2 tells in constant time whether signature, in base64, is that of text under the secret.
func signed2(secret, text, signature string) bool {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(text))
	return hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(signature))
}

// head2 is the string to sign up to the resource.
func head2(r *http.Request, c *Claim) string {
	date := c.stamp
	if _, ok := r.Header["X-Amz-Date"]; ok && c.Form == Header {
		date = ""
	}
	var names []string
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) })
	var b strings.Builder
	for _, line := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), date} {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	for _, name := range names {
		b.WriteString(strings.ToLower(name) + ":")
		for i, value := range r.Header[name] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.TrimSpace(value))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// resource2 is the canonical resource. Values in it are not escaped, so that what looks like more than one
// parameter is refused: it could be signed as one request and read as another.
func (v *Verifier) resource2(r *http.Request, values url.Values) (string, error) {
	var b strings.Builder
	if v.Bucket != nil {
		if bucket := v.Bucket(r.Host); bucket != "" {
			b.WriteString("/" + bucket)
		}
	}
	if r.URL.RawPath != "" {
		b.WriteString(r.URL.RawPath)
	} else {
		b.WriteString(r.URL.EscapedPath())
	}
	var names []string
	for name := range values {
		if subresource(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(name)
		value := values.Get(name)
		_, more, _ := strings.Cut(value, "&")
		for part := range strings.SplitSeq(more, "&") {
			if inner, _, _ := strings.Cut(part, "="); subresource(inner) {
				return "", errAmbiguous2(name)
			}
		}
		if value != "" {
			b.WriteString("=" + value)
		}
	}
	return b.String(), nil
}

// subresource tells whether Version 2 signs a query parameter: those that the documentation lists, and those
// that came later and that SDKs sign.
func subresource(name string) bool {
	switch name {
	case "acl", "lifecycle", "location", "logging", "notification", "partNumber", "policy", "requestPayment",
		"uploadId", "uploads", "versionId", "versioning", "versions", "website", "delete", "cors", "tagging",
		"restore", "torrent", "accelerate", "analytics", "defaultObjectAcl", "inventory", "metrics", "object-lock",
		"replication", "select", "select-type", "storageClass",
		"response-content-type", "response-content-language", "response-expires", "response-cache-control",
		"response-content-disposition", "response-content-encoding":
		return true
	}
	return false
}

// unsignedOperation tells whether a query parameter chooses an operation and yet is none of those that
// Version 2 signs. In a presigned URL such a one is refused: whoever holds the URL could have added it.
func unsignedOperation(name string) bool {
	switch name {
	case "abac", "annotation", "attributes", "encryption", "intelligent-tiering", "legal-hold", "metadataAnnotationTable",
		"metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "metadataTable", "ownershipControls",
		"policyStatus", "publicAccessBlock", "renameObject", "retention", "session":
		return true
	}
	return false
}

// adoptParameters2 takes the signature's own parameters out of a presigned URL, and makes headers of those
// that stand for headers, before the signature is computed: they enter it as headers. A header that was sent
// goes before a parameter, so that what is signed is what is obeyed.
func adoptParameters2(r *http.Request, values url.Values) error {
	for name, given := range values {
		lower := strings.ToLower(name)
		switch {
		case name == "AWSAccessKeyId", name == "Signature", name == "Expires":
		case strings.HasPrefix(lower, "x-amz-"), lower == "content-type", lower == "content-md5":
			key := textproto.CanonicalMIMEHeaderKey(lower)
			if key == lower || strings.ContainsAny(strings.Join(given, ""), "\r\n\x00") {
				return errQuery() // no header that could be sent
			}
			if r.Header[key] == nil {
				r.Header[key] = given
			}
		case unsignedOperation(name):
			return errUnsigned2(name)
		default:
			continue
		}
		delete(values, name)
	}
	r.URL.RawQuery = values.Encode()
	return nil
}
