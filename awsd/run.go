package awsd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxHeaderBytes = 64 << 10 // of request line and headers
	headerTimeout  = 20 * time.Second
	idleTimeout    = 2 * time.Minute
)

// Listener is a port to answer at.
type Listener struct {
	Net      net.Listener
	Services []string    // signing names of the services offered; nil: all
	TLS      *tls.Config // nil: plain HTTP only; else the port speaks both
}

// Run answers at the listeners until ctx ends or one of them fails, and closes them. Then it waits for the
// requests that are under way, at most Config.Drain long; whatever a keep-alive connection is asked
// meanwhile it answers with Connection: close. The error tells of a listener that failed or of requests that
// had to be cut off.
func (s *Server) Run(ctx context.Context, listeners []Listener) error {
	fronts := make([]*front, len(listeners))
	for i, l := range listeners {
		if fronts[i] = s.newFront(l.Services); fronts[i].fallback == nil {
			return fmt.Errorf("awsd: the listener at %s offers no service: %v", l.Net.Addr(), l.Services)
		}
	}
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	group, running := errgroup.WithContext(ctx)
	for i, l := range listeners {
		server := s.httpServer(base, fronts[i])
		group.Go(func() error {
			err := server.Serve(&dualListener{l.Net, serverTLS(l.TLS), s.Progress})
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("awsd: serving %s: %w", l.Net.Addr(), err)
		})
		group.Go(func() error {
			<-running.Done()
			return s.drain(base, server, cut)
		})
	}
	return group.Wait()
}

// httpServer is net/http's half of a front.
func (s *Server) httpServer(base context.Context, f *front) *http.Server {
	return &http.Server{
		Handler:           f,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
}

// drain closes a server when its requests have ended, or cuts them off when their time is up.
func (s *Server) drain(base context.Context, server *http.Server, cut context.CancelFunc) error {
	ctx, cancel := context.WithTimeout(base, s.Drain)
	defer cancel()
	err := server.Shutdown(ctx)
	if err == nil {
		return nil
	}
	cut()
	return errors.Join(fmt.Errorf("awsd: requests were cut off after %v: %w", s.Drain, err), server.Close())
}

// serverTLS is c for HTTP/1.1, which is what S3 clients speak.
func serverTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.NextProtos = []string{"http/1.1"}
	return c
}
