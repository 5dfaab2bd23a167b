package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// logger gives what the server says to slog. A fatal error is kept: the server itself would end the process.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex // guards fatal
	fatal error
}

func (l *logger) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Noticef is for what the server tells of its life.
func (l *logger) Noticef(format string, v ...any) { l.log.Debug(text(format, v)) }

// Warnf is for what may be wrong.
func (l *logger) Warnf(format string, v ...any) {
	msg := text(format, v)
	if strings.Contains(msg, "will not be verified") {
		return // RouteTLS verifies in its own way, which the server cannot see
	}
	l.log.Warn(msg)
}

// Errorf is for what went wrong. What is not about routes clients can cause as often as they like: wrong passwords,
// handshakes broken off. Servers also tell each other of subscriptions in accounts that the other has not made yet.
func (l *logger) Errorf(format string, v ...any) {
	msg := text(format, v)
	if strings.Contains(msg, "oute") && !strings.Contains(msg, "for remote subject") {
		l.log.Info(msg)
		return
	}
	l.log.Debug(msg)
}

// Fatalf is for what the server cannot begin without.
func (l *logger) Fatalf(format string, v ...any) {
	msg := text(format, v)
	l.mu.Lock()
	l.fatal = errors.Join(l.fatal, errors.New(msg))
	l.mu.Unlock()
}

// Debugf is not asked for.
func (l *logger) Debugf(string, ...any) {}

// Tracef is not asked for.
func (l *logger) Tracef(string, ...any) {}

func text(format string, v []any) string { return "NATS: " + fmt.Sprintf(format, v...) }
