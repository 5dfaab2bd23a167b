package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// head is the beginning of a file, and its last sector.
type head struct {
	first []byte // up to 64 KiB
	last  []byte // 512 bytes, or nil
}

func readHead(file string) (h head, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return h, 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return h, 0, err
	}
	h.first = make([]byte, 64<<10)
	n, err := io.ReadFull(f, h.first)
	h.first = h.first[:n]
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return h, 0, err
	}
	if st.Size() >= Sector {
		h.last = make([]byte, Sector)
		if _, err := f.ReadAt(h.last, st.Size()-Sector); err != nil {
			return h, 0, err
		}
	}
	return h, st.Size(), nil
}

func (h head) at(offset int, magic string) bool {
	return len(h.first) >= offset+len(magic) && string(h.first[offset:offset+len(magic)]) == magic
}

// detect tells the format. Sources of the signatures: docs/interop/qcow2.txt of QEMU, the VMDK 5.0, VHD 1.0 and VHDX 1.0
// specifications, and for VDI block/vdi.c of QEMU.
func detect(h head) (string, error) {
	switch {
	case h.at(0, "QFI\xfb"):
		return QCOW2, nil
	case h.at(0, "KDMV"):
		return VMDK, nil
	case h.at(0, "# Disk DescriptorFile"):
		return VMDK, fmt.Errorf("%w: a VMDK descriptor whose disk lies in other files; convert it to one file first", ErrUnsafe)
	case h.at(0, "vhdxfile"):
		return VHDX, nil
	case h.at(0, "conectix") || bytes.HasPrefix(h.last, []byte("conectix")):
		return VHD, nil
	case h.at(0x40, "\x7f\x10\xda\xbe"):
		return VDI, nil
	}
	for _, p := range []struct {
		offset      int
		magic, what string
	}{
		{0, "\x1f\x8b", "gzip"}, {0, "\xfd7zXZ\x00", "xz"}, {0, "\x28\xb5\x2f\xfd", "zstd"}, {0, "BZh", "bzip2"},
		{0, "PK\x03\x04", "zip"}, {257, "ustar", "tar"},
	} {
		if h.at(p.offset, p.magic) {
			return Raw, fmt.Errorf("%w: the file is packed by %s; unpack it first", ErrFormat, p.what)
		}
	}
	return Raw, nil
}

// alone refuses an image whose header refers to another file: qemu-img would open that one.
func (h head) alone(format string) error {
	switch format {
	case QCOW2:
		return h.aloneQCOW2()
	case VMDK:
		return h.aloneVMDK()
	case VHD:
		// Disk type 4 is a difference to a parent; the footer, or its copy at the start, has it at byte 60.
		for _, footer := range [][]byte{h.last, h.first} {
			if len(footer) >= 64 && bytes.HasPrefix(footer, []byte("conectix")) && binary.BigEndian.Uint32(footer[60:]) == 4 {
				return fmt.Errorf("%w: a VHD that is the difference to a parent", ErrUnsafe)
			}
		}
	}
	return nil // QEMU's VDI and VHDX know no other file
}

// aloneQCOW2: bytes 8 to 15 are the place of the backing file's name; bit 2 of the incompatible features, bytes 72 to 79
// since version 3, says that the data lie in another file. Source: docs/interop/qcow2.txt of QEMU.
func (h head) aloneQCOW2() error {
	if len(h.first) < 72 {
		return fmt.Errorf("%w: the header is cut off", ErrFormat)
	}
	if binary.BigEndian.Uint64(h.first[8:]) != 0 {
		return fmt.Errorf("%w: a qcow2 with a backing file", ErrUnsafe)
	}
	if binary.BigEndian.Uint32(h.first[4:]) >= 3 && (len(h.first) < 80 || binary.BigEndian.Uint64(h.first[72:])&4 != 0) {
		return fmt.Errorf("%w: a qcow2 with an external data file", ErrUnsafe)
	}
	return nil
}

// aloneVMDK reads the descriptor inside the image: its place and length, in sectors, are at bytes 28 and 36. An image of
// capacity 0, bytes 12 to 19, is one whose descriptor names the files. Source: VMware Virtual Disks, Virtual Disk Format
// 5.0, and block/vmdk.c of QEMU.
func (h head) aloneVMDK() error {
	if len(h.first) < Sector {
		return fmt.Errorf("%w: the header is cut off", ErrFormat)
	}
	if binary.LittleEndian.Uint64(h.first[12:]) == 0 {
		return fmt.Errorf("%w: a VMDK whose disk lies in other files", ErrUnsafe)
	}
	at, length := binary.LittleEndian.Uint64(h.first[28:]), binary.LittleEndian.Uint64(h.first[36:])
	if at == 0 {
		return nil // no descriptor: nothing that could name a file
	}
	if at > 1<<20 || length > 1<<20 || (at+length)*Sector > uint64(len(h.first)) {
		return fmt.Errorf("%w: the VMDK's descriptor lies where none does", ErrFormat)
	}
	text := h.first[at*Sector : (at+length)*Sector]
	if bytes.Contains(bytes.ToLower(text), []byte("parentfilenamehint")) {
		return fmt.Errorf("%w: a VMDK that is the difference to a parent", ErrUnsafe)
	}
	return nil
}
