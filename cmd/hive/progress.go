package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/schollz/progressbar/v3"
)

// progress shows how a long job goes: a bar on a terminal, a line per change elsewhere, nothing
// with --output json. Its methods may be called at once.
type progress struct {
	mu   sync.Mutex // guards what is below
	w    io.Writer  // nil shows nothing
	bar  *progressbar.ProgressBar
	last string
}

// progress begins a job of total steps; 0 is a job whose length nobody knows.
func (o output) progress(total int) *progress {
	switch {
	case o.json:
		return &progress{}
	case !isTerminal(o.err):
		return &progress{w: o.err}
	}
	if total == 0 {
		total = -1
	}
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(o.err),
		progressbar.OptionSetWidth(24),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionShowDescriptionAtLineEnd(),
		progressbar.OptionClearOnFinish(),
	)
	return &progress{w: o.err, bar: bar}
}

// show tells that done steps are behind and what goes on now.
func (p *progress) show(done int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.bar != nil:
		if text != p.last {
			p.bar.Describe(text)
		}
		p.draw(p.bar.Set(done))
	case p.w != nil && text != p.last:
		fmt.Fprintln(p.w, text)
	}
	p.last = text
}

// close leaves a clean line behind, and ends the showing. It may be called again.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.draw(p.bar.Clear())
	}
	p.bar, p.w = nil, nil
}

// draw gives up on the bar when the terminal cannot show it; the job itself goes on.
func (p *progress) draw(err error) {
	if err != nil {
		p.bar = nil
	}
}
