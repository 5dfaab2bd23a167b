package main

import (
	"bufio"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"hive/test/rig"
)

// machine is the title of a run: when, where, what.
func machine() (string, error) {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	var kib int
	if _, err := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kib); err != nil {
		return "", fmt.Errorf("/proc/meminfo: %w", err)
	}
	return fmt.Sprintf("%s, %d processors, %.0f GiB of memory, %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.NumCPU(), float64(kib)/(1<<20), runtime.Version()), nil
}

// bareCommand lets this program be the bare server.
const bareCommand = "serve-bare"

// serveBare answers PUT by discarding the body and GET by as many bytes as the path says, until its parent is gone.
func serveBare(out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	var pool sync.Pool
	pool.New = func() any { return new([64 << 10]byte) }
	handler := func(w http.ResponseWriter, r *http.Request) {
		buf := pool.Get().(*[64 << 10]byte)
		defer pool.Put(buf)
		if r.Method == http.MethodPut {
			if _, err := io.CopyBuffer(onlyWriter{io.Discard}, r.Body, buf[:]); err != nil {
				panic(http.ErrAbortHandler)
			}
			return
		}
		size, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for ; size > 0; size -= min(size, len(buf)) {
			if _, err := w.Write(buf[:min(size, len(buf))]); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	}
	return http.Serve(l, http.HandlerFunc(handler))
}

// onlyWriter hides what else a writer can do.
type onlyWriter struct{ io.Writer }

// bareRates are the rows of the bare server, by operation.
type bareRates map[string]row

// limits measures and prints what the machine does without Hive.
func (b *bench) limits(ctx context.Context) (bareRates, error) {
	fmt.Fprintf(b.out, "\n### The machine\n\n")
	for _, writers := range []int{1, 16} {
		rate, err := b.syncs(writers)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(b.out, "- write of 4 KiB and fdatasync by %d at once: %.0f/s\n", writers, rate)
	}
	rate, err := b.sequential()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "- sequential write of 256 MiB and fdatasync: %.0f MiB/s\n", rate)
	best := md5Time(noise(16<<20)) / 16
	fmt.Fprintf(b.out, "- MD5 on one core: %.0f MiB/s, %.2f ms per MiB\n", 1000/ms(best), ms(best))
	return b.bareServer(ctx)
}

// md5Time is the shortest of some times that MD5 took; other processes make the others longer.
func md5Time(data []byte) time.Duration {
	best := time.Duration(math.MaxInt64)
	for range 8 {
		begin := time.Now()
		md5.Sum(data)
		best = min(best, time.Since(begin))
	}
	return best
}

// syncs is how often a second writers append 4 KiB and sync, each its own file.
func (b *bench) syncs(writers int) (float64, error) {
	errs := make([]error, writers)
	counts := make([]int, writers)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range writers {
		all.Go(func() { counts[i], errs[i] = syncFor(filepath.Join(b.dir, fmt.Sprint("sync", i)), b.cell/2) })
	}
	all.Wait()
	took := time.Since(begin)
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / took.Seconds(), errors.Join(errs...)
}

func syncFor(name string, long time.Duration) (n int, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	block := make([]byte, 4096)
	for begin := time.Now(); time.Since(begin) < long; n++ {
		if _, err := f.Write(block); err != nil {
			return n, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return n, err
		}
	}
	return n, nil
}

// sequential is the rate in MiB/s at which one file is written and synced at its end.
func (b *bench) sequential() (rate float64, err error) {
	name := filepath.Join(b.dir, "sequential")
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	block := noise(1 << 20)
	begin := time.Now()
	for range 256 {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
	}
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		return 0, err
	}
	return 256 / time.Since(begin).Seconds(), nil
}

// bareServer runs this program as a server without any work to do, and measures it with the same client.
func (b *bench) bareServer(ctx context.Context) (rates bareRates, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, bareCommand)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the child lives as long as the thread that made it
	defer runtime.UnlockOSThread()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if e := cmd.Process.Kill(); e != nil {
			err = errors.Join(err, e)
		}
		var killed *exec.ExitError
		if e := cmd.Wait(); e != nil && !errors.As(e, &killed) {
			err = errors.Join(err, e)
		}
	}()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	return b.bareRows(ctx, strings.TrimSpace(addr), rig.Proc(cmd.Process.Pid))
}

func (b *bench) bareRows(ctx context.Context, addr string, p rig.Proc) (bareRates, error) {
	rates := bareRates{}
	var rows []row
	for _, size := range sizes {
		for _, method := range []string{"PUT", "GET"} {
			w := work{op: method + " " + sizeName(size), conc: 16, time: b.cell / 2, clients: clients(16, addr, "", "")}
			payload := make([]byte, size)
			w.requests = func(c *client, _, _ int) error {
				a := ask{method: method, path: "/" + strconv.Itoa(size)}
				if method == "PUT" {
					a.body = payload
				} else {
					a.want = payload
				}
				_, err := c.do(a)
				return err
			}
			r, err := measure(ctx, []rig.Proc{p}, w)
			if err := errors.Join(err, closeClients(w.clients)); err != nil {
				return nil, err
			}
			rates[r.op] = r
			rows = append(rows, r)
		}
	}
	fmt.Fprintf(b.out, "- a Go HTTP server that discards or invents the bodies:\n\n")
	printRows(b.out, rows, nil, nil)
	return rates, nil
}
