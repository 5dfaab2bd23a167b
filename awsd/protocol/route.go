package protocol

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// pair is a query parameter, unescaped.
type pair struct{ key, value string }

// router finds the operation of a request to a REST protocol.
type router interface {
	find(r *http.Request) (*Operation, error)
	// labels are what the path of a request to op holds, by field.
	labels(op *Operation, r *http.Request) ([]pair, error)
}

// routes finds the operation of a restXml request. Operations stand by method and level; among those whose
// literals and required parameters are all there, the one that asks for most wins. A parameter that the
// winner does not know is refused: a request must never mean another operation than its sender meant.
type routes struct {
	dialect dialect
	at      map[place][]route
}

type place struct{ method, level string }

type route struct {
	op       *Operation
	required []string        // query parameters
	allowed  map[string]bool // query parameters, literals among them
	copies   bool            // needs the header x-amz-copy-source
}

const copySource = "X-Amz-Copy-Source"

func newRoutes(a *API) (*routes, error) {
	rs := &routes{dialect: a.dialect, at: map[place][]route{}}
	for _, op := range a.table.byName {
		r := route{op: op, allowed: map[string]bool{}}
		for _, l := range op.literals {
			r.allowed[l.key] = true
		}
		if err := r.readMembers(a.table.lines[op.input]); err != nil {
			return nil, err
		}
		p := place{op.Method, op.level}
		rs.at[p] = append(rs.at[p], r)
	}
	return rs, nil
}

// readMembers takes what decides a route from the line of the operation's input.
func (r *route) readMembers(line string) error {
	if line == "" {
		return nil
	}
	for _, cell := range strings.Split(line, "\t")[1:] {
		f, err := parseField(cell, false, nil)
		if err != nil {
			return err
		}
		switch {
		case f.loc == inQuery:
			r.allowed[f.wire] = true
			if f.required != 0 {
				r.required = append(r.required, f.wire)
			}
		case f.loc == inHeader && f.required != 0 && http.CanonicalHeaderKey(f.wire) == copySource:
			r.copies = true
		}
	}
	return nil
}

func (rs *routes) find(r *http.Request) (*Operation, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	candidates, ok := rs.at[place{r.Method, r.URL.Path}]
	if !ok {
		bucket, key, err := splitPath(r)
		if err != nil {
			return nil, err
		}
		candidates = rs.at[place{r.Method, levelOf(bucket, key)}]
	}
	best := choose(candidates, query, r.Header.Get(copySource) != "")
	if key, ok := best.stranger(query); ok {
		return nil, rs.refuse(candidates, query, key)
	}
	if best == nil {
		return nil, rs.dialect.missingAction()
	}
	return best.op, nil
}

func (rs *routes) labels(_ *Operation, r *http.Request) ([]pair, error) {
	bucket, key, err := splitPath(r)
	return []pair{{"Bucket", bucket}, {"Key", key}}, err
}

// refuse answers a query parameter that does not fit: either the operation that it belongs to lacks another
// one, or there is no such operation.
func (rs *routes) refuse(candidates []route, query []pair, key string) error {
	for i := range candidates {
		c := &candidates[i]
		if !c.needs(key) {
			continue
		}
		for _, name := range c.required {
			if _, ok := lookup(query, name); !ok {
				return Errorf(http.StatusBadRequest, "InvalidArgument", "With the query parameter %s the request needs %s too", key, name)
			}
		}
	}
	return rs.dialect.unknown(key)
}

// needs says whether the query parameter is one that selects the operation.
func (c *route) needs(key string) bool {
	_, literal := lookup(c.op.literals, key)
	return literal || slices.Contains(c.required, key)
}

func levelOf(bucket, key string) string {
	switch {
	case key != "":
		return "key"
	case bucket != "":
		return "bucket"
	}
	return "service"
}

// choose finds the best of the candidates: the one that asks for most. Where two are equal in that (only
// ListBuckets and ListDirectoryBuckets are) it is the one that knows all parameters, or the one that x-id,
// which clients send as a hint, names.
func choose(candidates []route, query []pair, copies bool) *route {
	var best *route
	most := -1
	for i := range candidates {
		c := &candidates[i]
		if c.copies != copies && (c.copies || hasTwin(candidates, c)) || !c.matches(query) {
			continue
		}
		weight := 4 * (len(c.op.literals) + len(c.required))
		if _, ok := c.stranger(query); !ok {
			weight += 2
		}
		if v, ok := lookup(query, "x-id"); ok && v == c.op.Name {
			weight++
		}
		if weight > most {
			best, most = c, weight
		}
	}
	return best
}

// stranger is the first query parameter that the operation does not have, if there is one.
func (c *route) stranger(query []pair) (key string, ok bool) {
	for _, q := range query {
		if !isSigningQuery(q.key) && (c == nil || !c.allowed[q.key]) {
			return q.key, true
		}
	}
	return "", false
}

// hasTwin says whether c, which does not copy, has a copying operation beside it: PutObject beside CopyObject.
func hasTwin(candidates []route, c *route) bool {
	return len(c.op.literals) == 0 && slices.ContainsFunc(candidates, func(t route) bool {
		return t.copies && len(t.required) == len(c.required)
	})
}

func (c *route) matches(query []pair) bool {
	for _, l := range c.op.literals {
		if v, ok := lookup(query, l.key); !ok || l.value != "" && v != l.value {
			return false
		}
	}
	for _, name := range c.required {
		if _, ok := lookup(query, name); !ok {
			return false
		}
	}
	return true
}

func lookup(query []pair, key string) (string, bool) {
	for _, q := range query {
		if q.key == key {
			return q.value, true
		}
	}
	return "", false
}

// isSigningQuery says whether a query parameter belongs to a signature or is the SDKs' hint.
func isSigningQuery(key string) bool {
	switch key {
	case "x-id", "AWSAccessKeyId", "Signature", "Expires":
		return true
	}
	return len(key) >= 6 && strings.EqualFold(key[:6], "x-amz-")
}

func invalidURI(why string) *Error {
	return Errorf(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI: %s", why)
}

// parseQuery is url.ParseQuery but for order, ';', which is a byte like others, and repeated keys, which are
// refused.
func parseQuery(raw string) ([]pair, error) {
	if raw == "" {
		return nil, nil
	}
	var query []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		key, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return nil, invalidURI("a query parameter is not escaped correctly")
		}
		if _, ok := lookup(query, key); ok {
			return nil, Errorf(http.StatusBadRequest, "InvalidArgument", "The query parameter %q is given more than once", key)
		}
		if len(query) == maxQuery {
			return nil, invalidURI("it has too many query parameters")
		}
		query = append(query, pair{key, value})
	}
	return query, nil
}

// maxQuery bounds the search for repeated keys.
const maxQuery = 100

// splitPath parts the path as it was sent: the first segment is the bucket, all after its slash the key, in
// which escaped and repeated slashes are bytes like others.
func splitPath(r *http.Request) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if bucket, err = url.PathUnescape(bucket); err != nil {
		return "", "", invalidURI("the bucket is not escaped correctly")
	}
	if key, err = url.PathUnescape(key); err != nil {
		return "", "", invalidURI("the key is not escaped correctly")
	}
	if bucket == "" && key != "" {
		return "", "", invalidURI("a key needs a bucket before it")
	}
	if !utf8.ValidString(bucket) || !utf8.ValidString(key) {
		return "", "", invalidURI("it is not UTF-8")
	}
	return bucket, key, nil
}
