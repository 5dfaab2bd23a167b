package awsd

import (
	"io"
	"net/http"
)

// isHealth tells whether a request asks for the server's own health. No bucket is called "-".
func isHealth(r *http.Request) bool {
	return r.URL.Path == "/-/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// answerHealth says that requests are being answered.
func (f *front) answerHealth(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, `{"status":"ok"}`+"\n") // a client that has gone needs no answer
}
