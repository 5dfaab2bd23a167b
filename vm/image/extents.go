package image

import (
	"errors"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// Extent is a range of a file that may hold other bytes than zeroes.
type Extent struct{ Offset, Length int64 }

// Extents goes over what a sparse file holds, in order; between them are zeroes. On a file system that does not tell, it
// is the whole file. It moves the file's position. An error is the last thing that it gives.
func Extents(f *os.File) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		st, err := f.Stat()
		if err != nil {
			yield(Extent{}, err)
			return
		}
		for at := int64(0); at < st.Size(); {
			e, err := next(f, at, st.Size())
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
			at = e.Offset + e.Length
		}
	}
}

// next is the first extent at or after a position; io.EOF: none.
func next(f *os.File, at, size int64) (Extent, error) {
	data, err := f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return Extent{}, io.EOF
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP):
		return Extent{at, size - at}, nil
	case err != nil:
		return Extent{}, err
	}
	hole, err := f.Seek(data, unix.SEEK_HOLE)
	if err != nil {
		return Extent{}, err
	}
	if hole > size {
		hole = size // it grows meanwhile
	}
	if hole <= data {
		return Extent{}, io.EOF
	}
	return Extent{data, hole - data}, nil
}
