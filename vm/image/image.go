// Package image reads disk image files: what format one has, how large its disk is, and its content as a raw file, by
// qemu-img. It trusts no image: one that refers to another file is refused before anything opens it. It never fetches
// and never keeps images.
package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Causes that a caller can act on. Their texts are for the owner of the image.
var (
	ErrFormat = errors.New("not a disk image of this format")
	ErrUnsafe = errors.New("the image refers to other files, which is not allowed")
	ErrSize   = errors.New("the size of the disk is not allowed")
	ErrTool   = errors.New("qemu-img is not installed (package qemu-utils)")
)

// Formats, as qemu-img names them.
const (
	Raw   = "raw"
	QCOW2 = "qcow2"
	VMDK  = "vmdk"
	VHD   = "vpc"
	VHDX  = "vhdx"
	VDI   = "vdi"
)

// Sector is what a disk's size is a multiple of.
const Sector = 512

// MaxSize is the size of the largest disk that is read: of the largest volume, 16 TiB.
const MaxSize = 16 << 40

// infoTime bounds the reading of an image's header.
const infoTime = 30 * time.Second

// Info is what an image file holds.
type Info struct {
	Format      string // Raw, QCOW2, VMDK, VHD, VHDX, VDI
	VirtualSize int64  // of the disk, a multiple of Sector
	Padded      int64  // zeroes that a raw file gets at its end to make it so, 0 to 511
}

// formats are the names that a caller may give a format, in lower case, EC2's among them.
func formatNamed(name string) (string, bool) {
	switch n := strings.ToLower(name); n {
	case Raw, QCOW2, VMDK, VHDX, VDI:
		return n, true
	case VHD, "vhd":
		return VHD, true
	}
	return "", false
}

// Probe is Info of a file whose format is told by its content. A file that shows no format is raw, unless it looks
// compressed or packed.
func Probe(ctx context.Context, file string) (Info, error) { return ProbeAs(ctx, file, "") }

// ProbeAs is Info of a file that must have the named format: raw, qcow2, vmdk, vhd, vhdx, vdi, in any case; empty tells
// by the content. Any file but an empty one is raw if it is said to be.
func ProbeAs(ctx context.Context, file, format string) (Info, error) {
	file, err := absolute(file)
	if err != nil {
		return Info{}, err
	}
	head, size, err := readHead(file)
	if err != nil {
		return Info{}, err
	}
	found, err := detect(head)
	switch {
	case size == 0:
		return Info{}, fmt.Errorf("%w: the file is empty", ErrFormat)
	case format == "" && err != nil:
		return Info{}, err
	case format != "":
		want, ok := formatNamed(format)
		if !ok {
			return Info{}, fmt.Errorf("%w: %q is none of raw, qcow2, vmdk, vhd, vhdx, vdi", ErrFormat, format)
		}
		if want != Raw && want != found {
			return Info{}, fmt.Errorf("%w: it is no %s", ErrFormat, format)
		}
		found = want
	}
	if found == Raw {
		padded := (Sector - size%Sector) % Sector
		return Info{Format: Raw, VirtualSize: size + padded, Padded: padded}, checkSize(size)
	}
	if err := head.alone(found); err != nil {
		return Info{}, err
	}
	return info(ctx, file, found)
}

func checkSize(size int64) error {
	if size <= 0 || size > MaxSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrSize, size, int64(MaxSize))
	}
	return nil
}

// info asks qemu-img about an image that has passed the checks of its header.
func info(ctx context.Context, file, format string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTime)
	defer cancel()
	out, err := run(ctx, "info", "--output=json", "-f", format, "--", file)
	if err != nil {
		return Info{}, err
	}
	var told struct {
		Size     int64  `json:"virtual-size"`
		Backing  string `json:"backing-filename"`
		Specific struct {
			Data struct {
				DataFile string `json:"data-file"`
				Extents  []struct {
					Name string `json:"filename"`
				} `json:"extents"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &told); err != nil {
		return Info{}, fmt.Errorf("qemu-img info: %w", err)
	}
	if told.Backing != "" || told.Specific.Data.DataFile != "" {
		return Info{}, ErrUnsafe
	}
	for _, e := range told.Specific.Data.Extents {
		if e.Name != file {
			return Info{}, ErrUnsafe
		}
	}
	rounded := (told.Size + Sector - 1) / Sector * Sector
	return Info{Format: format, VirtualSize: rounded, Padded: rounded - told.Size}, checkSize(told.Size)
}

// run is qemu-img with file names that it cannot take for anything else: they are absolute.
func run(ctx context.Context, words ...string) ([]byte, error) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return nil, ErrTool
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path, words...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return nil, failure(ctx, err, complaints.String())
	}
	return out.Bytes(), nil
}

// failure tells a cancelled qemu-img from one that did not like the image.
func failure(ctx context.Context, err error, complaints string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lines := strings.Split(strings.TrimSpace(complaints), "\n")
	last := lines[len(lines)-1]
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Errorf("%w: %s", ErrFormat, strings.TrimPrefix(last, "qemu-img: "))
	}
	return fmt.Errorf("qemu-img: %w: %s", err, last)
}

// absolute is what qemu-img is given: a relative name could look like an option or a URL.
func absolute(file string) (string, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if st, err := os.Stat(path); err != nil {
		return "", err
	} else if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is no file", ErrFormat, file)
	}
	return path, nil
}
