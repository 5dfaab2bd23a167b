package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ToRaw writes the disk of an image as a raw file, sparse, its size the image's VirtualSize; the format is told by the
// content. progress is told bytes of that size, in order, from one goroutine; nil: nobody. dst appears when it is
// complete; what is there before is replaced. When ctx ends, or on any error, nothing is left of it.
func ToRaw(ctx context.Context, src, dst string, progress func(done, total int64)) error {
	_, err := ToRawAs(ctx, src, "", dst, progress)
	return err
}

// ToRawAs is ToRaw of an image that must have the named format, as in ProbeAs, and tells what it was.
func ToRawAs(ctx context.Context, src, format, dst string, progress func(done, total int64)) (Info, error) {
	info, err := ProbeAs(ctx, src, format)
	if err != nil {
		return Info{}, err
	}
	from, err := absolute(src)
	if err != nil {
		return Info{}, err
	}
	to, err := filepath.Abs(dst)
	if err != nil {
		return Info{}, err
	}
	part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".part-*")
	if err != nil {
		return Info{}, err
	}
	err = part.Close()
	if err == nil {
		err = convert(ctx, info, from, part.Name(), progress)
	}
	if err == nil {
		err = pad(part.Name(), info.VirtualSize)
	}
	if err == nil {
		err = os.Rename(part.Name(), to)
	}
	if err != nil {
		if gone := os.Remove(part.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return Info{}, err
	}
	return info, nil
}

// convert runs qemu-img, which kills itself when ctx ends.
func convert(ctx context.Context, info Info, from, to string, progress func(done, total int64)) error {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return ErrTool
	}
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "convert", "-p", "-f", info.Format, "-O", Raw, "-S", "4k", "--", from, to)
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	follow(out, info.VirtualSize, progress)
	if err := cmd.Wait(); err != nil {
		return failure(ctx, err, complaints.String())
	}
	return nil
}

// follow reads qemu-img's progress, "    (12.34/100%)" and a carriage return each time.
func follow(out io.Reader, total int64, progress func(done, total int64)) {
	lines := bufio.NewScanner(out)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\r'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for lines.Scan() {
		number, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "("), "/100%)")
		percent, err := strconv.ParseFloat(number, 64)
		if ok && err == nil && progress != nil {
			progress(min(int64(percent/100*float64(total)), total), total)
		}
	}
	_, _ = io.Copy(io.Discard, out) // after a line that is none, so that qemu-img can go on
}

// pad makes the file as long as the disk, and makes it last.
func pad(file string, size int64) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() > size {
		err = fmt.Errorf("%w: the disk became %d bytes, not %d", ErrSize, st.Size(), size)
	}
	if err == nil {
		err = f.Truncate(size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
