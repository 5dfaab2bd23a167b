// Package compat runs scenarios: calls of AWS operations written as data, with the answers and errors that AWS's API
// reference promises for them. The same scenario runs through three clients: signed HTTP requests of its own, the Go SDK
// and boto3. It knows the services only by the SDK's types, and never links the program's rooms.
//
// A file of scenarios is text:
//
//	# a comment
//	let NAME = JSON                          a value for the scenarios of this file
//	=== title of a scenario
//	[WHO:] [LABEL =] SERVICE OPERATION [JSON]  a call; WHO is root unless said
//	*N [WHO:] SERVICE OPERATION [JSON]         N calls, ${i} from 1; what follows holds for each
//	  => JSON                                 the answer has at least this
//	  == JSON                                 the answer is this
//	  !> STATUS CODE MESSAGE                  the call is refused with this
//	[LABEL =] form SERVICE JSON               a request with exactly these parameters
//	LABEL = creds JSON                        a key to call with that no call gave
//	LABEL = totp JSON                         the codes of a virtual MFA device: of its seed, at a time
//	LABEL = jwt JSON                          an identity token, signed with the key of the world's identity provider
//	LABEL = cert JSON                         a certificate of that CN, with its private key
//	oidc-keys JSON                            the provider of this URL has the key that jwt signs with
//	advance DURATION                          the time goes on
//
// A call without expectation must succeed. In any string ${name} is a value of let, ${label.Path.0.Field} of an answer, and
// there are ${account}, ${other} (the second account's id) and ${region}; a string that is nothing else becomes the
// value as it is. ${text*9} is a text nine times. An object {"${*N}": X} is a list of N times X, with ${i}. Where the API wants
// a text and an object or list is given, its JSON is sent; where an object is expected and a text comes, the text is
// read as JSON (URL-decoded where it must be).
//
// WHO is root, other (the root user of a second account), anonymous, or the label of an answer that has a key.
// Expected values: … in a text stands for any text; null is a member that must be absent; "#N" a list of N; a list
// that begins with "…" may have more members and in any order; <time>, <id:AIDA>, <secret> are what they say.
package compat

import (
	"context"
	"crypto/rsa"
	"embed"
	"fmt"
	"io/fs"
	"time"
)

//go:embed scenarios/*.txt
var files embed.FS

// All are the scenarios of this package, in order of file and place.
func All() ([]Scenario, error) {
	names, err := fs.Glob(files, "scenarios/*.txt")
	if err != nil {
		return nil, err
	}
	var all []Scenario
	titles := map[string]string{}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		some, err := Parse(name, string(text))
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			if where, twice := titles[s.Title]; twice {
				return nil, fmt.Errorf("%s: %q is a scenario of %s already", s.Where, s.Title, where)
			}
			titles[s.Title] = s.Where
		}
		all = append(all, some...)
	}
	return all, nil
}

// Scenario is calls that build on each other, beginning with an account in which nothing is.
type Scenario struct {
	Title string
	File  string // base name without its ending
	Where string // file:line
	Steps []Step
	lets  map[string]any
}

// NeedsClock tells whether the scenario lets the time go on, which only some worlds can.
func (s *Scenario) NeedsClock() bool { return s.has("advance") }

// NeedsForms tells whether it sends what no AWS client would send.
func (s *Scenario) NeedsForms() bool { return s.has("form") }

// Large tells whether it makes so much that it belongs into a quick world, such as all the users that an account may have.
func (s *Scenario) Large() bool {
	calls := 0
	for _, step := range s.Steps {
		calls += max(1, step.Times)
	}
	return calls > 120
}

// Knows tells whether a client that has only some operations can run it.
func (s *Scenario) Knows(has func(service, op string) bool) bool {
	for _, step := range s.Steps {
		if step.Verb == "call" && !has(step.Service, step.Op) {
			return false
		}
	}
	return true
}

func (s *Scenario) has(verb string) bool {
	for _, step := range s.Steps {
		if step.Verb == verb {
			return true
		}
	}
	return false
}

// Step is one call, or one of the other verbs.
type Step struct {
	Where   string
	Verb    string // "call", "form", "creds", "totp", "jwt", "cert", "oidc-keys", "advance"
	Who     string
	Label   string
	Service string // signing name
	Op      string
	Params  any // JSON as decoded; numbers are json.Number
	Times   int // calls; 0 is one, without ${i}
	For     time.Duration
	Want    Want
}

// Want is what a call must come to. The zero Want is any success.
type Want struct {
	Answer  any // JSON as decoded
	Exact   bool
	Status  int // of an error; 0 wants success
	Code    string
	Message string
}

// Credentials sign requests; the zero Credentials send them unsigned.
type Credentials struct{ ID, Secret, Token string }

// Account is an account and its root user's key.
type Account struct {
	ID   string
	Root Credentials
}

// World is where scenarios run. Its functions are safe for concurrent use where scenarios run at once.
type World struct {
	Region   string
	Account  func(ctx context.Context) (Account, error) // makes an account
	Clock    func() time.Time
	Advance  func(time.Duration) // nil: the time goes on by itself only
	Endpoint func() string       // of the next call
	Provider *rsa.PrivateKey     // signs identity tokens and certificates; nil: there are none
	// OIDCKeys gives the provider of an account, by its URL, its keys (a JSON Web Key Set).
	OIDCKeys func(ctx context.Context, account, url string, jwks []byte) error
}

// Call is one request to be sent.
type Call struct {
	Endpoint, Region string
	As               Credentials
	Service, Op      string
	Params           map[string]any // strings, bools, json.Numbers, []any, map[string]any
}

// Client sends calls and reads answers: maps by member's name, lists, strings, bools, json.Numbers; times as RFC 3339,
// blobs in base64. A refusal is a *Refusal; any other error says that the answer was none.
type Client interface {
	Do(ctx context.Context, c Call) (map[string]any, error)
}

// Refusal is AWS's error.
type Refusal struct {
	Status        int // of HTTP; 0 when the client does not tell
	Code, Message string
}

// Error tells status, code and message.
func (r *Refusal) Error() string { return fmt.Sprintf("%d %s %s", r.Status, r.Code, r.Message) }
