package nbd

import (
	"net"
	"sync"
)

// reply is what goes out for one request, or for several that the reader has answered itself.
type reply struct {
	batch []byte // the reader's answers; it goes first
	parts net.Buffers
	buf   *buffer // whose bytes parts has; may be nil
}

// output sends a connection's replies. Whoever has one becomes the writer, unless there is one already, who then
// sends it too: replies that come while one is being sent leave together in one system call. It lets workers and
// reader send without handing anything to a further goroutine.
type output struct {
	nc      net.Conn
	written func(reply) // gives back what a reply holds, sent or not
	broken  func(error) // called once, when sending has failed
	mu      sync.Mutex  // guards what follows
	queue   []reply
	spare   []reply     // the queue's other array
	vector  net.Buffers // only the writer uses it
	writing bool
	err     error
}

// send sends r, or leaves it to the present writer. After an error replies are dropped.
func (o *output) send(r reply) {
	o.mu.Lock()
	if o.err != nil {
		o.mu.Unlock()
		o.written(r)
		return
	}
	o.queue = append(o.queue, r)
	if o.writing {
		o.mu.Unlock()
		return
	}
	o.writing = true
	for len(o.queue) > 0 {
		now := o.queue
		o.queue = o.spare
		failed := o.err
		o.mu.Unlock()
		if failed == nil {
			if failed = o.write(now); failed != nil {
				o.broken(failed)
			}
		}
		for i, r := range now {
			o.written(r)
			now[i] = reply{}
		}
		o.mu.Lock()
		o.spare, o.err = now[:0], failed
	}
	o.writing = false
	o.mu.Unlock()
}

// write sends all of some replies in as few system calls as can be.
func (o *output) write(all []reply) error {
	v := o.vector[:0]
	for _, r := range all {
		if len(r.batch) > 0 {
			v = append(v, r.batch)
		}
		v = append(v, r.parts...)
	}
	o.vector = v
	if len(v) == 1 {
		_, err := o.nc.Write(v[0])
		return err
	}
	rest := v // WriteTo moves its receiver on, and forgets what it has sent
	_, err := rest.WriteTo(o.nc)
	return err
}
