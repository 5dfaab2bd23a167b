package raftnode

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hclogger is a slog.Logger in hclog's clothes, for hashicorp/raft. raft's Info lines are about its own
// working (states, pipelines, snapshots): they are logged as Debug, and so are its Debug lines; its Warn
// lines are Info; its Error lines, most of them about peers that do not answer, are Warn.
type hclogger struct {
	log  *slog.Logger
	name string
	args []any
}

func newHclog(log *slog.Logger) hclog.Logger { return &hclogger{log: log} }

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
		l.log.Warn(msg, args...)
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
	return &hclogger{log: l.log.With(args...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...)}
}

func (l *hclogger) Named(name string) hclog.Logger {
	return l.ResetNamed(strings.TrimPrefix(l.name+"."+name, "."))
}

func (l *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{log: l.log, name: name, args: l.args}
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
