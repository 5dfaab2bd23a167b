package awsd

import (
	"io"
	"net/http"
	"time"
)

// minProgress is how much must arrive for a client to have its patience back.
const minProgress = 16 << 10

// wireBody is a request's body as it comes from the connection: it counts, and it ends a client that keeps
// us waiting. Only waiting counts: for every minProgress bytes a client has the patience once, however
// long we take between our reads, so that an upload may last for hours and a trickle may not.
type wireBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	waited   time.Duration // since bytes last made progress
	fresh    int           // bytes since then
	total    int64
}

func newWireBody(w http.ResponseWriter, body io.ReadCloser, patience time.Duration) *wireBody {
	b := &wireBody{ReadCloser: body, control: http.NewResponseController(w), patience: patience}
	// net/http reads what a handler has left unread, before it answers: that must end too.
	b.setDeadline(time.Now().Add(patience))
	return b
}

// Read reads from the connection.
func (b *wireBody) Read(p []byte) (int, error) {
	start := time.Now()
	b.setDeadline(start.Add(b.patience - b.waited))
	n, err := b.ReadCloser.Read(p)
	b.total += int64(n)
	b.fresh += n
	if b.fresh >= minProgress {
		b.waited, b.fresh = 0, 0
	} else {
		b.waited += time.Since(start)
	}
	if err == io.EOF {
		// From here on net/http watches the connection for the client's going away, which a deadline
		// would look like. After another error the deadline stays, to end net/http's reading too.
		b.setDeadline(time.Time{})
	}
	return n, err
}

// setDeadline bounds the next reads. A connection that cannot do so is one of a test.
func (b *wireBody) setDeadline(t time.Time) { _ = b.control.SetReadDeadline(t) }

// count is how many bytes have come.
func (b *wireBody) count() int64 {
	if b == nil {
		return 0
	}
	return b.total
}
