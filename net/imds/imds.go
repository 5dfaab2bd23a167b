// Package imds is the metadata service that instances ask at 169.254.169.254, versions 1 and 2. Who asks is known by
// the VPC that the connection arrived in and its source address, which the network's rules keep true. It answers nobody
// else, and shows no instance what belongs to another.
package imds

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hive/fsm"
)

// Config is what a Server needs.
type Config struct {
	Source      Source
	Key         []byte            // the cluster's secret that tokens are made with, 16 bytes or more
	Signer      crypto.Signer     // of identity documents, RSA or ECDSA; nil: they are not signed
	Certificate *x509.Certificate // of Signer
	ZoneID      func(zone string) string
	// Credentials are those of the role of an instance that has one; nil: no instance is given any.
	Credentials func(ctx context.Context, i fsm.Instance) (Credentials, error)
	Clock       func() time.Time
	Log         *slog.Logger
}

// Server answers instances.
type Server struct {
	cfg    Config
	tokens tokens
}

// New is a server.
func New(cfg Config) (*Server, error) {
	t, err := newTokens(cfg.Key)
	if err != nil {
		return nil, err
	}
	if err := checkSigner(cfg); err != nil {
		return nil, err
	}
	return &Server{cfg, t}, nil
}

const (
	tokenPath     = "/latest/api/token"
	tokenHeader   = "X-Aws-Ec2-Metadata-Token"
	ttlHeader     = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	defaultTTL    = 64 // of IP packets
	headerTimeout = 10 * time.Second
	idleTimeout   = 30 * time.Second
	maxHeader     = 16 << 10
)

// Serve answers the instances of one VPC on l until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, id fsm.VPCID, l net.Listener) error {
	server := &http.Server{
		Handler: s.Handler(id), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: headerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := server.Serve(l)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("metadata of %s: %w", id, err)
}

type connKey struct{}

// Handler answers the instances of one VPC.
func (s *Server) Handler(id fsm.VPCID) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "EC2ws")
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			refuse(w, http.StatusBadRequest)
			return
		}
		i, ok, err := s.cfg.Source.Instance(id, from.Addr().Unmap())
		switch {
		case err != nil:
			s.cfg.Log.Error("metadata", "vpc", id, "from", from, "error", err)
			refuse(w, http.StatusInternalServerError)
		case !ok:
			refuse(w, http.StatusNotFound)
		case i.Metadata.Disabled:
			refuse(w, http.StatusForbidden)
		case r.Method == http.MethodPut:
			s.put(w, r, i)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			s.get(w, r, i)
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS, PUT")
			refuse(w, http.StatusMethodNotAllowed)
		}
	})
}

// put answers with a token, by packets that reach no further than the instance's hop limit.
func (s *Server) put(w http.ResponseWriter, r *http.Request, i Instance) {
	if r.URL.Path != tokenPath {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if err := setTTL(r, max(1, int(i.Metadata.HopLimit))); err != nil {
		s.cfg.Log.Error("metadata: hop limit", "instance", i.ID, "error", err)
		refuse(w, http.StatusInternalServerError)
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case len(r.Header.Values("X-Forwarded-For")) > 0: // through a proxy: who asks is not the instance
		refuse(w, http.StatusForbidden)
	case err != nil || seconds < 1 || seconds > maxTTL:
		refuse(w, http.StatusBadRequest)
	default:
		token := s.tokens.make(i.ID, s.cfg.Clock().Add(time.Duration(seconds)*time.Second))
		w.Header().Set(ttlHeader, strconv.Itoa(seconds))
		write(w, token)
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, i Instance) {
	if err := setTTL(r, defaultTTL); err != nil {
		s.cfg.Log.Error("metadata: hop limit", "instance", i.ID, "error", err)
		refuse(w, http.StatusInternalServerError)
		return
	}
	if r.URL.Path == tokenPath {
		w.Header().Set("Allow", "OPTIONS, PUT")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if token := r.Header.Get(tokenHeader); token != "" || i.Metadata.TokensRequired {
		left := s.tokens.left(token, i.ID, s.cfg.Clock())
		if left <= 0 {
			refuse(w, http.StatusUnauthorized)
			return
		}
		w.Header().Set(ttlHeader, strconv.Itoa(int(math.Ceil(left.Seconds()))))
	}
	version, below, ok := split(r.URL.Path)
	switch {
	case !ok:
		refuse(w, http.StatusNotFound)
		return
	case version == "":
		write(w, strings.Join(versions, "\n"))
		return
	}
	t, err := s.treeOf(r.Context(), i, below)
	if err != nil {
		s.cfg.Log.Error("metadata", "instance", i.ID, "error", err)
		refuse(w, http.StatusInternalServerError)
		return
	}
	body, ok := t.get(below, i.KeyName)
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	if below == "user-data" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	write(w, body)
}

// setTTL sets how many hops the packets of the answer live. A connection that is not TCP has none.
func setTTL(r *http.Request, ttl int) error {
	conn, ok := r.Context().Value(connKey{}).(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) })
	return errors.Join(err, set)
}

func write(w http.ResponseWriter, body string) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/plain")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write([]byte(body)) // a guest that has gone misses nothing
}

// refuse answers with a status and the page that AWS sends with it.
func refuse(w http.ResponseWriter, status int) {
	title := strconv.Itoa(status) + " - " + http.StatusText(status)
	body := `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a guest that has gone misses nothing
}
