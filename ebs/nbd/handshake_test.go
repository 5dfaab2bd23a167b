package nbd_test

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

const mib = 1 << 20

// haggle dials and sends flags as a client of today.
func (s *server) haggle(t *testing.T) *client {
	c := s.dial(t)
	c.write(u32(3))
	return c
}

func TestExportNameEntersWithZeroesUnlessTheClientWantsNone(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	for flags, zeroes := range map[uint32]int{0: 124, 1: 124, 3: 0, 2: 0} {
		c := s.dial(t)
		c.write(u32(flags))
		c.option(optExportName, []byte("disk"))
		p := c.read(10 + zeroes)
		if be.Uint64(p) != mib || !bytes.Equal(p[10:], make([]byte, zeroes)) {
			t.Fatalf("flags %d: %x", flags, p)
		}
		if got := be.Uint16(p[8:]); got != 1|4|8|32|64|1<<10|1<<11 { // flags, flush, FUA, trim, zeroes, cache, fast zero
			t.Fatalf("transmission flags %#x", got)
		}
		if !bytes.Equal(c.reads(512, 512), make([]byte, 512)) {
			t.Fatal("not zero")
		}
	}
}

func TestConnectionEndsOnWhatCannotBeAnswered(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	for name, p := range map[string][]byte{
		"unknown client flag":              u32(4),
		"unknown high client flag":         u32(1 << 31),
		"no magic":                         join(u32(3), make([]byte, 16)),
		"no such export by name":           join(u32(3), optionBytes(optExportName, []byte("other"))),
		"empty export name":                join(u32(3), optionBytes(optExportName, nil)),
		"endless export name":              join(u32(3), []byte("IHAVEOPT"), u32(1), u32(1<<30)),
		"option without fixed newstyle":    join(u32(0), optionBytes(optList, nil)),
		"GO without fixed newstyle":        join(u32(2), optionBytes(optGo, join(str("disk"), u16(0)))),
		"an HTTP client":                   []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"request where an option must be":  join(u32(3), ask{n: 512}.bytes()),
		"option magic of a server's reply": join(u32(3), []byte{0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9}, make([]byte, 8)),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			c.write(p)
			c.closed()
		})
	}
	s.idle(t)
}

func TestOptionsThatAreWrongAreRefusedAndTheNextIsAnswered(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	for _, o := range []struct {
		name string
		id   uint32
		data []byte
		want uint32
	}{
		{"unknown option", 4711, []byte("data"), errUnsup},
		{"peek export", 4, nil, errUnsup},
		{"extended headers", 11, nil, errUnsup},
		{"TLS", optStartTLS, nil, errPolicy},
		{"too long", 4711, make([]byte, 100_000), errTooBig},
		{"GO too long", optGo, make([]byte, 17<<10), errTooBig},
		{"list with data", optList, []byte("x"), errInvalid},
		{"structured with data", optStructured, []byte("x"), errInvalid},
		{"context before structured", optSetMeta, join(str("disk"), u32(1), str("base:allocation")), errInvalid},
		{"context list before structured", optListMeta, join(str("disk"), u32(0)), errInvalid},
		{"GO without anything", optGo, nil, errInvalid},
		{"GO with a name longer than the data", optGo, join(u32(100), []byte("disk"), u16(0)), errInvalid},
		{"GO with an absurd name", optGo, join(u32(1<<32-1), []byte("disk"), u16(0)), errInvalid},
		{"GO with fewer kinds than counted", optGo, join(str("disk"), u16(2), u16(3)), errInvalid},
		{"GO with more kinds than counted", optGo, join(str("disk"), u16(0), u16(3)), errInvalid},
		{"GO with a name over 4096 bytes", optGo, join(str(strings.Repeat("x", 4097)), u16(0)), errInvalid},
		{"GO with a name that is no UTF-8", optGo, join(str("\xff"), u16(0)), errInvalid},
		{"GO with a NUL", optGo, join(str("di\x00sk"), u16(0)), errInvalid},
		{"GO to another export", optGo, join(str("Disk"), u16(0)), errUnknown},
		{"INFO of another export", optInfo, join(str(""), u16(0)), errUnknown},
	} {
		t.Run(o.name, func(t *testing.T) {
			c := s.haggle(t)
			c.option(o.id, o.data)
			c.wants(o.id, o.want)
			c.option(optGo, str("disk"), u16(0))
			c.wants(optGo, repInfo, repInfo, repAck)
			c.reads(0, 512)
		})
	}
}

func TestMetaContextsThatAreWrongAreRefused(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	c := s.haggle(t)
	c.option(optStructured)
	c.wants(optStructured, repAck)
	for name, o := range map[string]struct {
		data []byte
		want uint32
	}{
		"nothing":               {nil, errInvalid},
		"no count":              {str("disk"), errInvalid},
		"fewer than counted":    {join(str("disk"), u32(2), str("base:")), errInvalid},
		"absurdly many":         {join(str("disk"), u32(1<<32-1), str("base:")), errInvalid},
		"more than counted":     {join(str("disk"), u32(0), str("base:")), errInvalid},
		"query longer than all": {join(str("disk"), u32(1), u32(9), []byte("base:")), errInvalid},
		"no such export":        {join(str("other"), u32(0)), errUnknown},
		"unknown context":       {join(str("disk"), u32(1), str("qemu:dirty-bitmap:x")), repAck},
	} {
		for _, id := range []uint32{optListMeta, optSetMeta} {
			c.option(id, o.data)
			if kind, data := c.optReply(id); kind != o.want {
				t.Errorf("%s, option %d: reply %#x %q, want %#x", name, id, kind, data, o.want)
			}
		}
	}
	for query, found := range map[string]bool{"": true, "base:": true, "base:allocation": true, "other:": false} {
		queries := join(u32(1), str(query))
		if query == "" {
			queries = u32(0)
		}
		c.option(optListMeta, str("disk"), queries)
		if !found {
			c.wants(optListMeta, repAck)
			continue
		}
		if got := c.wants(optListMeta, repMeta, repAck)[0]; string(got[4:]) != "base:allocation" {
			t.Errorf("query %q: %q", query, got)
		}
	}
}

// TestContextOfAnotherExportIsNotChosen: BLOCK_STATUS is refused after contexts were chosen for another export, or
// were replaced by none.
func TestContextOfAnotherExportIsNotChosen(t *testing.T) {
	s := serve(t, all(nbd.Export{Name: "a", Device: nbdtest.NewMemory(mib)}, nbd.Export{Name: "b", Device: nbdtest.NewMemory(mib)}))
	for _, want := range []struct {
		again []byte
		code  uint32
	}{{nil, 22}, {join(str("b"), u32(0)), 22}, {join(str("b"), u32(1), str("base:allocation")), 0}} {
		c := s.haggle(t)
		c.option(optStructured)
		c.wants(optStructured, repAck)
		c.option(optSetMeta, str("a"), u32(1), str("base:allocation"))
		c.wants(optSetMeta, repMeta, repAck)
		if want.again != nil {
			c.option(optSetMeta, want.again)
			for kind := uint32(0); kind != repAck; kind, _ = c.optReply(optSetMeta) {
			}
		}
		c.option(optInfo, str("a"), u16(0)) // asking about another changes nothing
		c.wants(optInfo, repInfo, repInfo, repAck)
		c.option(optGo, str("b"), u16(0))
		c.wants(optGo, repInfo, repInfo, repAck)
		a := ask{cmd: cmdStatus, n: 512}
		if want.code != 0 {
			c.expect(a, want.code)
			continue
		}
		c.send(a)
		if got := c.chunk(); got.kind != 5 {
			t.Errorf("%+v", got)
		}
	}
}

func TestInfoTellsWhatIsAskedAndGoTheSame(t *testing.T) {
	s := serve(t, all(nbd.Export{Name: "disk", Description: "a disk", Device: nbdtest.NewMemory(mib), ReadOnly: true,
		MinBlock: 1024, PreferredBlock: 8192, MaxPayload: 1 << 20}))
	c := s.haggle(t)
	for _, id := range []uint32{optInfo, optGo} {
		c.option(id, str("disk"), u16(4), u16(3), u16(1), u16(2), u16(99))
		got := c.wants(id, repInfo, repInfo, repInfo, repInfo, repAck)
		for i, want := range [][]byte{
			join(u16(0), u32(0), u32(mib), u16(1|2|4|8|1<<10)),
			join(u16(3), u32(1024), u32(8192), u32(1<<20)),
			join(u16(1), []byte("disk")),
			join(u16(2), []byte("a disk")),
		} {
			if !bytes.Equal(got[i], want) {
				t.Errorf("option %d: %x, want %x", id, got[i], want)
			}
		}
	}
	c.reads(0, 1024)
	c.expect(ask{cmd: cmdRead, n: 512}, 22)
}

func TestBlockSizesThatAreNoneAreMendedAndTheEndIsCutToThem(t *testing.T) {
	s := serve(t, all(nbd.Export{Name: "disk", Device: nbdtest.NewMemory(mib + 512), MinBlock: 3000, PreferredBlock: 512, MaxPayload: 1<<32 - 1}))
	c := s.haggle(t)
	c.option(optInfo, str("disk"), u16(0))
	got := c.wants(optInfo, repInfo, repInfo, repAck)
	if be.Uint64(got[0][2:]) != mib || !bytes.Equal(got[1], join(u16(3), u32(4096), u32(4096), u32(32<<20))) {
		t.Errorf("%x", got)
	}
}

func TestAbortIsAcknowledgedAndEndsTheConnection(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	c := s.haggle(t)
	c.option(optAbort)
	c.wants(optAbort, repAck)
	c.closed()
	s.idle(t)
}

func TestListTellsTheExportsOfTheMoment(t *testing.T) {
	var now atomic.Pointer[[]nbd.Export]
	now.Store(&[]nbd.Export{})
	s := serve(t, nbd.Config{Exports: func() []nbd.Export { return *now.Load() }})
	c := s.haggle(t)
	c.option(optList)
	c.wants(optList, repAck)
	now.Store(&[]nbd.Export{{Name: "a", Description: "first", Device: nbdtest.NewMemory(mib)}, {Device: nbdtest.NewMemory(mib)}})
	c.option(optList)
	got := c.wants(optList, repServer, repServer, repAck)
	if !bytes.Equal(got[0], join(str("a"), []byte("first"))) || !bytes.Equal(got[1], str("")) {
		t.Errorf("%q", got)
	}
	c.option(optGo, str(""), u16(0))
	c.wants(optGo, repInfo, repInfo, repAck)
}

func TestClientThatChoosesNothingIsDisconnectedInTime(t *testing.T) {
	cfg := one(nbdtest.NewMemory(mib))
	cfg.Handshake = 20 * time.Millisecond
	s := serve(t, cfg)
	s.dial(t).closed()
	c := s.dial(t)
	c.write(u32(3))
	c.write([]byte("IHAVE"))
	c.closed()
	s.idle(t)
}

func TestHandshakesEndWithTheServer(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	silent, halfway := s.dial(t), s.haggle(t)
	halfway.option(optList)
	halfway.wants(optList, repServer, repAck)
	s.stop()
	silent.closed()
	halfway.closed()
}
