// Package awscall speaks to the AWS API of a node with what `hive` itself needs of it: signed requests of the query and
// REST-JSON protocols, tried again where that is safe and useful. It knows no operation. It never uses the SDK's clients:
// they would be most of the program.
package awscall

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Config says whom to speak to and as whom. Either Socket is set, or Endpoint, Region and the keys are.
type Config struct {
	Endpoint  string // "https://10.0.0.1:9999"
	Region    string
	AccessKey string
	SecretKey string
	Token     string // of a session
	CAFile    string // PEM; "" trusts what the machine trusts
	Socket    string // of a node's daemon: no signature, the root user's rights
}

// Error is an answer that is none of success.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error tells the code and the message.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }

// Client is safe for concurrent use.
type Client struct {
	cfg     Config
	http    *http.Client
	signer  *v4.Signer
	clock   func() time.Time
	reached atomic.Bool // an answer has come, so that a refused connection is one of a node that restarts
}

// How requests are tried again.
const (
	attempts   = 10
	firstPause = 200 * time.Millisecond
	longest    = 5 * time.Second
	maxAnswer  = 16 << 20 // bytes
)

// New is a Client. clock is time.Now.
func New(cfg Config, clock func() time.Time) (*Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 32, ForceAttemptHTTP2: false}
	if cfg.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", cfg.Socket)
		}
		cfg.Endpoint = "http://node/aws"
	}
	if u, err := url.Parse(cfg.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the endpoint %q is no http or https URL", cfg.Endpoint)
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA bundle %s holds no certificate", cfg.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	cfg.Endpoint = strings.TrimSuffix(cfg.Endpoint, "/")
	return &Client{cfg: cfg, http: &http.Client{Transport: transport}, signer: v4.NewSigner(), clock: clock}, nil
}

// Query asks for an operation of a query service and reads the XML of its answer into out, nil for none.
func (c *Client) Query(ctx context.Context, service, version, action string, params url.Values, out any) error {
	form := url.Values{"Action": {action}, "Version": {version}}
	for name, values := range params {
		form[name] = values
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	answer, err := c.send(ctx, Request{Service: service, Method: http.MethodPost, Path: "/", Header: header, Body: []byte(form.Encode())})
	if err == nil && out != nil {
		if err = xml.Unmarshal(answer, out); err != nil {
			err = fmt.Errorf("%s: the answer cannot be read: %w", action, err)
		}
	}
	return err
}

// JSON sends a request of a REST-JSON service and reads the JSON of its answer into out, nil for none.
func (c *Client) JSON(ctx context.Context, r Request, out any) error {
	answer, err := c.send(ctx, r)
	if err == nil && out != nil {
		if err = json.Unmarshal(answer, out); err != nil {
			err = fmt.Errorf("%s %s: the answer cannot be read: %w", r.Method, r.Path, err)
		}
	}
	return err
}

// Request is one request to a service.
type Request struct {
	Service, Method, Path string
	Header                http.Header
	Body                  []byte
	Within                time.Duration // one try's time; 0 is a minute
}

// send tries a request until it is answered or there is no use in it. The operations are such that asking twice does no
// harm.
func (c *Client) send(ctx context.Context, r Request) ([]byte, error) {
	pause := firstPause
	for try := 1; ; try++ {
		answer, err := c.attempt(ctx, r)
		if err == nil || try == attempts || ctx.Err() != nil || !c.hopeful(err) {
			return answer, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		pause = min(2*pause, longest)
	}
}

// hopeful tells whether another try may end better.
func (c *Client) hopeful(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Status >= 500 && answer.Status != http.StatusNotImplemented || answer.Status == http.StatusTooManyRequests
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return false
	}
	return c.reached.Load() || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) && !isNoHost(err)
}

func isNoHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func (c *Client) attempt(ctx context.Context, r Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Within, time.Minute))
	defer cancel()
	base := c.cfg.Endpoint
	if c.cfg.Socket != "" {
		base += "/" + r.Service
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, base+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	if err := c.sign(ctx, req, r); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	c.reached.Store(true)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, readError(resp, answer)
	}
	return answer, nil
}

func (c *Client) sign(ctx context.Context, req *http.Request, r Request) error {
	if c.cfg.Socket != "" {
		return nil
	}
	sum := sha256.Sum256(r.Body)
	keys := aws.Credentials{AccessKeyID: c.cfg.AccessKey, SecretAccessKey: c.cfg.SecretKey, SessionToken: c.cfg.Token}
	return c.signer.SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), r.Service, c.cfg.Region, c.clock())
}

// readError reads an error in any of the forms that services answer.
func readError(resp *http.Response, answer []byte) *Error {
	e := &Error{Status: resp.StatusCode}
	var asJSON struct {
		Type    string `json:"__type"`
		Message string // in any case
		Error   string // of the admin socket
	}
	var asXML struct {
		EC2   struct{ Code, Message string } `xml:"Errors>Error"`
		Query struct{ Code, Message string } `xml:"Error"`
		Code  string
		Text  string `xml:"Message"`
	}
	switch {
	case json.Unmarshal(answer, &asJSON) == nil:
		e.Code, e.Message = asJSON.Type, asJSON.Message+asJSON.Error
	case xml.Unmarshal(answer, &asXML) == nil:
		e.Code = asXML.EC2.Code + asXML.Query.Code + asXML.Code
		e.Message = asXML.EC2.Message + asXML.Query.Message + asXML.Text
	}
	if e.Code == "" {
		e.Code = resp.Status
	}
	if e.Message == "" {
		e.Message = "the request was refused"
	}
	return e
}
