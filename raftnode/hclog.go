package raftnode

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// hclogger is a slog.Logger in hclog's clothes, for hashicorp/raft. raft's Info lines are about its own
// working (states, pipelines, snapshots): they are logged as Debug, and so are its Debug lines; its Warn
// lines are Info; its Error lines, most of them about peers that do not answer, are Warn once a minute.
type hclogger struct {
	log  *slog.Logger
	name string
	args []any
	once *oncePerMinute
}

func newHclog(log *slog.Logger) hclog.Logger {
	return &hclogger{log: log, once: &oncePerMinute{last: make(map[string]time.Time)}}
}

// oncePerMinute knows which lines were logged of late: while a node is down raft says so several times a
// second.
type oncePerMinute struct {
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

func (o *oncePerMinute) first(line string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.last[line]) > time.Minute {
		o.last[line] = now
		return true
	}
	return false
}

// about is the line without what differs each time: the message and the node that it is about.
func about(msg string, args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		if key, _ := args[i].(string); key == "peer" || key == "target" || key == "server-id" {
			return fmt.Sprint(msg, args[i+1])
		}
	}
	return msg
}

// Log is hclog's: args are pairs of key and value.
func (l *hclogger) Log(level hclog.Level, msg string, args ...any) {
	for i, arg := range args {
		if f, ok := arg.(hclog.Format); ok {
			args[i] = formatted(f)
		}
	}
	msg = "raft: " + msg
	switch level {
	case hclog.Trace, hclog.Debug, hclog.Info:
		l.log.Debug(msg, args...)
	case hclog.Warn:
		l.log.Info(msg, args...)
	case hclog.Error:
		if l.once.first(about(msg, args)) {
			l.log.Warn(msg, args...)
		} else {
			l.log.Debug(msg, args...)
		}
	default: // NoLevel and Off
	}
}

// formatted is formatted when it is logged.
type formatted hclog.Format

// LogValue makes it a slog.LogValuer.
func (f formatted) LogValue() slog.Value {
	format, ok := f[0].(string)
	if !ok {
		return slog.AnyValue(f[0])
	}
	return slog.StringValue(fmt.Sprintf(format, f[1:]...))
}

func (l *hclogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *hclogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *hclogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *hclogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hclogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *hclogger) IsTrace() bool                 { return false }
func (l *hclogger) IsDebug() bool                 { return true }
func (l *hclogger) IsInfo() bool                  { return true }
func (l *hclogger) IsWarn() bool                  { return true }
func (l *hclogger) IsError() bool                 { return true }
func (l *hclogger) ImpliedArgs() []any            { return l.args }
func (l *hclogger) Name() string                  { return l.name }
func (l *hclogger) SetLevel(hclog.Level)          {} // the slog handler decides
func (l *hclogger) GetLevel() hclog.Level         { return hclog.Debug }

func (l *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{
		log: l.log.With(args...), name: l.name, once: l.once,
		args: append(l.args[:len(l.args):len(l.args)], args...),
	}
}

func (l *hclogger) Named(name string) hclog.Logger {
	return l.ResetNamed(strings.TrimPrefix(l.name+"."+name, "."))
}

func (l *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{log: l.log, name: name, args: l.args, once: l.once}
}

func (l *hclogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

func (l *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ to *hclogger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.to.Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}
