# Usage: commands.py URI READ_ONLY_URI MULTI_CONN SIZE: every command of libnbd, and every bad request, with structured
# replies and without. The first export is empty at the start.
import errno
import sys

import nbd

uri, read_only_uri, multi_conn, size = sys.argv[1], sys.argv[2], sys.argv[3] == "True", int(sys.argv[4])
MIB = 1 << 20


def check(ok, what):
    if not ok:
        raise SystemExit("failed: " + what)


def connect(uri, structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if structured:
        h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(uri)
    h.set_strict_mode(0)  # bad requests are for the server to refuse
    return h


def refused(h, want, what, f):
    try:
        f()
    except nbd.Error as e:
        check(e.errnum == want, "%s: %s instead of %s" % (what, e.errno, errno.errorcode[want]))
    else:
        check(False, what + " was not refused")
    check(len(h.pread(512, 0)) == 512, "the connection after " + what)


def status(h, n, off, flags=0):
    found = []

    def extents(context, offset, entries, error):
        check(context == "base:allocation" and offset == off and error.value == 0, "extents of %s" % context)
        found.extend(entries)

    h.block_status(n, off, extents, flags)
    return found


def abilities(h):
    check(h.get_size() == size, "size")
    for name in "flush fua trim zero fast_zero cache".split():
        check(getattr(h, "can_" + name)(), "can_" + name)
    check(h.can_multi_conn() == multi_conn, "can_multi_conn")
    check(h.can_df() == h.get_structured_replies_negotiated(), "can_df")
    check(not h.is_read_only() and not h.is_rotational(), "is_read_only")
    sizes = [h.get_block_size(i) for i in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)]
    check(sizes == [512, 4096, 32 * MIB], "block sizes %s" % sizes)


def commands(h, structured):
    a, b = b"\xaa" * 65536, bytes(range(256)) * 16
    h.pwrite(a, MIB)
    h.pwrite(b, MIB + 4096, nbd.CMD_FLAG_FUA)
    h.flush()
    check(h.pread(65536, MIB) == a[:4096] + b + a[8192:], "what was written")
    check(h.pread(512, MIB + 4608) == b[512:1024], "a sector of it")
    if structured:
        check(h.pread(MIB, MIB, nbd.CMD_FLAG_DF)[:4096] == a[:4096], "a read in one piece")
        parts = []
        h.pread_structured(4096, MIB, lambda p, off, s, e: parts.append((bytes(p), off, s, e.value)))
        check(parts == [(a[:4096], MIB, nbd.READ_DATA, 0)], "chunks of a read")
        check(status(h, 2 * MIB, MIB) == [65536, 0, 2 * MIB - 65536, 3], "extents")
        check(status(h, 2 * MIB, MIB, nbd.CMD_FLAG_REQ_ONE) == [65536, 0], "one extent")
    h.cache(65536, MIB)
    h.zero(4096, MIB, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
    check(h.pread(8192, MIB) == bytes(4096) + b, "zeroes")
    h.zero(65536, MIB + MIB, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    if structured:
        check(status(h, 65536, 2 * MIB) == [65536, 0], "zeroes that are no hole")
    h.zero(size - MIB, MIB, nbd.CMD_FLAG_FAST_ZERO)
    h.trim(size, 0, nbd.CMD_FLAG_FUA)
    if structured:
        check(status(h, 4 * MIB, 0) == [4 * MIB, 3], "holes after a trim")
    check(h.pread(65536, MIB) == bytes(65536), "zeroes after a trim")
    big = bytes(range(1, 256)) * (32 * MIB // 255) + bytes(32 * MIB % 255)
    h.pwrite(big, size - len(big))
    check(h.pread(len(big), size - len(big)) == big, "the largest payload")
    h.trim(size, 0)


def at_once(h):
    """Sixty-four requests under way, and a flush behind them."""
    cookies = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i]) * 4096), i * 4096) for i in range(64)]
    for c in cookies:
        while not h.aio_command_completed(c):
            h.poll(-1)
    h.flush()
    buffers = [nbd.Buffer(4096) for _ in range(64)]
    cookies = [h.aio_pread(buffers[i], i * 4096) for i in range(64)]
    for c in reversed(cookies):
        while not h.aio_command_completed(c):
            h.poll(-1)
    for i, got in enumerate(buffers):
        check(got.to_bytearray() == bytearray([i]) * 4096, "buffer %d" % i)
    h.trim(MIB, 0)


def bad(h, structured):
    sector = bytes(512)
    inval, nospc = errno.EINVAL, errno.ENOSPC
    refused(h, inval, "a read past the end", lambda: h.pread(512, size))
    refused(h, inval, "a read over the end", lambda: h.pread(1024, size - 512))
    refused(h, nospc, "a write past the end", lambda: h.pwrite(sector, size))
    refused(h, nospc, "zeroes past the end", lambda: h.zero(512, size))
    refused(h, inval, "a trim past the end", lambda: h.trim(512, size))
    refused(h, inval, "a cache past the end", lambda: h.cache(512, size))
    refused(h, inval, "a read at the end of numbers", lambda: h.pread(1024, (1 << 63) - 512))
    refused(h, inval, "an empty read", lambda: h.pread(0, 0))
    refused(h, inval, "an empty write", lambda: h.pwrite(b"", 0))
    refused(h, inval, "empty zeroes", lambda: h.zero(0, 0))
    refused(h, inval, "an empty trim", lambda: h.trim(0, 0))
    refused(h, inval, "an unaligned read", lambda: h.pread(512, 1))
    refused(h, inval, "an unaligned length", lambda: h.pread(511, 0))
    refused(h, inval, "an unaligned write", lambda: h.pwrite(b"x", 0))
    refused(h, inval, "an unaligned trim", lambda: h.trim(512, 100))
    refused(h, inval, "a read over the maximum", lambda: h.pread(32 * MIB + 512, 0))
    refused(h, inval, "a write over the maximum", lambda: h.pwrite(bytes(48 * MIB), 0))
    refused(h, inval, "a write with an unknown flag", lambda: h.pwrite(sector, 0, 1 << 9))
    refused(h, inval, "a trim with NO_HOLE", lambda: h.trim(512, 0, nbd.CMD_FLAG_NO_HOLE))
    refused(h, inval, "a flush with DF", lambda: h.flush(nbd.CMD_FLAG_DF))
    if structured:
        refused(h, inval, "a read with REQ_ONE", lambda: h.pread(512, 0, nbd.CMD_FLAG_REQ_ONE))
        refused(h, inval, "a status past the end", lambda: status(h, 512, size))
    else:
        refused(h, inval, "DF without structured replies", lambda: h.pread(512, 0, nbd.CMD_FLAG_DF))


def read_only(h):
    perm = errno.EPERM
    check(h.is_read_only() and not h.can_trim() and not h.can_zero(), "a read-only export")
    refused(h, perm, "a write", lambda: h.pwrite(bytes(MIB), 0))
    refused(h, perm, "zeroes", lambda: h.zero(512, 0))
    refused(h, perm, "a trim", lambda: h.trim(512, 0))
    h.flush()


for structured in (True, False):
    h = connect(uri, structured)
    check(h.get_structured_replies_negotiated() == structured, "structured replies")
    abilities(h)
    commands(h, structured)
    at_once(h)
    bad(h, structured)
    read_only(connect(read_only_uri, structured))
    second = connect(uri, structured)
    h.pwrite(b"\x77" * 512, 512)
    second.flush()
    check(second.pread(512, 512) == b"\x77" * 512, "a write on another connection")
    second.trim(MIB, 0)
    h.shutdown()
    second.shutdown()
print("all is well")
