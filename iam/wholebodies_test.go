package iam_test

import (
	"bytes"
	"io"
	"net/http"
)

// wholeBodies sends requests whose bodies are in memory: the SDK closes a request's body as soon as the answer begins, and
// net/http, if it has not yet seen the body's end by then, cuts the connection in the middle of the answer.
type wholeBodies struct{}

func (wholeBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return http.DefaultClient.Do(req)
}
