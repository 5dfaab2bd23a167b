package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// table is a disk of that sector size whose second entry has a type.
func table(sector int, kind string) []byte {
	disk := make([]byte, 40*sector)
	header := disk[sector:]
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], 128)
	binary.LittleEndian.PutUint32(header[84:], 128)
	copy(disk[2*sector:], strings.Repeat("x", 16))
	copy(disk[2*sector+128:], kind)
	return disk
}

func TestAnEFISystemPartitionIsFoundWhereThereIsOne(t *testing.T) {
	far := table(512, espType)
	binary.LittleEndian.PutUint64(far[512+72:], 1<<62)
	many := table(512, "none")
	binary.LittleEndian.PutUint32(many[512+80:], 1<<31)
	for name, c := range map[string]struct {
		disk []byte
		want bool
	}{
		"one":                  {table(512, espType), true},
		"one, large sectors":   {table(4096, espType), true},
		"another partition":    {table(512, strings.Repeat("y", 16)), false},
		"entries far away":     {far, false},
		"entries without end":  {many, false},
		"a table that is cut":  {table(512, espType)[:1100], false},
		"no table":             {make([]byte, 1<<20), false},
		"less than one sector": {make([]byte, 100), false},
		"nothing":              {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := HasESP(bytes.NewReader(c.disk)); got != c.want || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

type broken struct{}

var errBroken = errors.New("the disk is broken")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestADiskThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := HasESP(broken{}); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

func FuzzHasESP(f *testing.F) {
	f.Add(table(512, espType))
	f.Fuzz(func(t *testing.T, disk []byte) {
		if _, err := HasESP(bytes.NewReader(disk)); err != nil {
			t.Error(err)
		}
	})
}
