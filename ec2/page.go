package ec2

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
)

// page is what a describe was asked for: up to max records whose key is after a key.
type page struct {
	bound []byte // to the request
	after string
	max   int // 0: all
}

// limits are the least and the most that MaxResults can be.
type limits struct{ least, most int32 }

// usual are the limits of most describes.
var usual = limits{5, 1000}

// boundLength is how many bytes of the request's hash a token carries.
const boundLength = 12

// pageRequest is a describe as far as its pages go.
type pageRequest struct {
	account, op string
	in          any // its input
	maxResults  *int32
	token       *string
}

// newPage reads MaxResults and NextToken of a describe. The operation, its input and the account bind a token to the
// request: it is good only for the same filters and ids of the same account. A token is base64 of boundLength bytes of a
// hash and the key of the last record.
func newPage(r pageRequest, lim limits) (page, error) {
	hash, err := requestHash(r.in, "NextToken", "MaxResults", "DryRun")
	if err != nil {
		return page{}, err
	}
	sum := sha256.Sum256(append([]byte(r.account+"\x00"+r.op+"\x00"), hash...))
	p := page{bound: sum[:boundLength]}
	if r.maxResults != nil {
		if n := *r.maxResults; n < lim.least || n > lim.most {
			return page{}, invalid("Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", n, lim.least, lim.most)
		}
		p.max = int(*r.maxResults)
	}
	if r.token == nil || *r.token == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(*r.token)
	if err != nil || len(raw) <= boundLength || !slices.Equal(raw[:boundLength], p.bound) {
		return page{}, bad("InvalidNextToken", "The specified NextToken is not valid: use that of the previous answer, with the same parameters.")
	}
	p.after = string(raw[boundLength:])
	return p, nil
}

// turn is the page's part of rows, which are in the order of key, and the token of the next page; nil when there is none.
func turn[T any](p page, rows []T, key func(T) string) ([]T, *string) {
	start := 0
	if p.after != "" {
		start = len(rows)
		if i := slices.IndexFunc(rows, func(x T) bool { return key(x) > p.after }); i >= 0 {
			start = i
		}
	}
	rows = rows[start:]
	if p.max == 0 || len(rows) <= p.max {
		return rows, nil
	}
	rows = rows[:p.max]
	token := base64.RawURLEncoding.EncodeToString(append(slices.Clone(p.bound), key(rows[p.max-1])...))
	return rows, &token
}

// requestHash is the SHA-256 of a request without the named members.
func requestHash(in any, without ...string) ([]byte, error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("hash a request: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("hash a request: %w", err)
	}
	for _, name := range without {
		delete(members, name)
	}
	if raw, err = json.Marshal(members); err != nil {
		return nil, fmt.Errorf("hash a request: %w", err)
	}
	sum := sha256.Sum256(raw)
	return sum[:], nil
}
