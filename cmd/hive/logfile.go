package main

import (
	"bufio"
	"errors"
	"io"
	"os"
)

// tail keeps the last n of the lines that it is given; n of 0 keeps all.
type tail struct {
	n     int
	lines []string
}

func (t *tail) add(line string) {
	t.lines = append(t.lines, line)
	if t.n > 0 && len(t.lines) >= 2*t.n {
		t.lines = append(t.lines[:0], t.last()...)
	}
}

func (t *tail) last() []string {
	if t.n > 0 && len(t.lines) > t.n {
		return t.lines[len(t.lines)-t.n:]
	}
	return t.lines
}

// lastLines are the last n lines of a file from an offset on. A file that is not there has none.
func lastLines(path string, from int64, n int) ([]string, error) {
	t := tail{n: n}
	f := follower{path: path, at: from}
	err := f.next(t.add)
	if len(f.part) > 0 {
		t.add(string(f.part))
	}
	return t.last(), err
}

// follower reads the lines that are added to a file.
type follower struct {
	path string
	at   int64
	part []byte // of a line whose end has not been written
}

// next hands out the lines that were completed since the last call. A file that shrank is read
// again from its beginning; one that is not there has no lines.
func (f *follower) next(line func(string)) error {
	file, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.at {
		f.at, f.part = 0, nil
	}
	r := bufio.NewReader(io.NewSectionReader(file, f.at, info.Size()-f.at))
	for {
		chunk, err := r.ReadBytes('\n')
		f.at += int64(len(chunk))
		f.part = append(f.part, chunk...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line(string(f.part[:len(f.part)-1]))
		f.part = f.part[:0]
	}
}
