package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hive/test/rig"
)

const (
	bucket   = "bench"
	location = "<CreateBucketConfiguration><LocationConstraint>" + rig.Region + "</LocationConstraint></CreateBucketConfiguration>"
)

// sizes of the objects, in bytes.
var sizes = []int{4 << 10, 1 << 20, 64 << 20}

var concurrencies = []int{1, 16}

func sizeName(size int) string {
	if size < 1<<20 {
		return fmt.Sprintf("%d KiB", size>>10)
	}
	return fmt.Sprintf("%d MiB", size>>20)
}

// subject is a running cluster and what was measured of it.
type subject struct {
	*bench
	*rig.Cluster
	servers []rig.Proc
	rows    []row
	notes   []string
	listed  int // small objects in the listing
}

// cluster forms a cluster of n, measures it and prints its table.
func (b *bench) cluster(ctx context.Context, n int, bare bareRates) (err error) {
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return err
	}
	begin := time.Now()
	c, err := rig.Form(ctx, rig.Options{Bin: bin, Dir: b.dir, Nodes: n, Place: func(i int) string {
		return filepath.Join(b.dir, fmt.Sprintf("c%dn%d", n, i+1))
	}})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(c.Logs(5)))
		}
		err = errors.Join(err, c.Kill())
	}()
	s := &subject{bench: b, Cluster: c}
	for _, node := range c.Nodes {
		s.servers = append(s.servers, node.Proc())
	}
	s.note("formed and serving in %.1f s", time.Since(begin).Seconds())
	err = s.measureAll(ctx)
	fmt.Fprintf(b.out, "\n### Cluster of %d\n\n", n)
	if n == 3 {
		printRows(b.out, s.rows, bare, goals)
	} else {
		printRows(b.out, s.rows, bare, nil)
	}
	for _, note := range s.notes {
		fmt.Fprintf(b.out, "- %s\n", note)
	}
	return err
}

func (s *subject) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *subject) measureAll(ctx context.Context) error {
	one := s.client(0)
	if _, err := one.do(ask{method: "PUT", path: "/" + bucket, body: []byte(location)}); err != nil {
		return err
	}
	if err := one.close(); err != nil {
		return err
	}
	steps := []func(context.Context) error{s.idle, s.small, s.larger, s.deletes, s.proposals}
	if len(s.Nodes) >= 3 {
		steps = append(steps, s.failovers)
	}
	var failed []error
	for _, step := range steps {
		failed = append(failed, step(ctx))
	}
	return errors.Join(failed...)
}

// idle weighs the cluster while nobody asks anything of it.
func (s *subject) idle(ctx context.Context) error {
	before, err := cpu(s.servers)
	if err != nil {
		return err
	}
	select {
	case <-time.After(2 * s.cell):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpu(s.servers)
	if err != nil {
		return err
	}
	var r row
	if err := r.memory(s.servers); err != nil {
		return err
	}
	s.note("idle: %.1f %% of a processor, %d MiB of memory, all processes together", float64(after-before)/float64(2*s.cell)*100, r.rss>>20)
	return nil
}

// client is a client of the i-th node, counted round.
func (s *subject) client(i int) *client {
	n := s.Nodes[i%len(s.Nodes)]
	return clients(1, strings.TrimPrefix(n.Endpoint(), "http://"), s.AccessKey, s.Secret)[0]
}

func clients(n int, addr, accessKey, secret string) []*client {
	out := make([]*client, n)
	for i := range out {
		out[i] = &client{addr: addr, region: rig.Region, accessKey: accessKey, secret: secret}
	}
	return out
}

func closeClients(all []*client) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// measure runs w with clients spread over the nodes and keeps the row.
func (s *subject) measure(ctx context.Context, w work) (row, error) {
	for i := range w.conc {
		w.clients = append(w.clients, s.client(i))
	}
	r, err := measure(ctx, s.servers, w)
	s.rows = append(s.rows, r)
	return r, errors.Join(err, closeClients(w.clients))
}

// object is the path of the i-th object of a set.
func object(set string, i int) string { return fmt.Sprintf("/%s/%s/%06d", bucket, set, i) }

// put writes objects of one content and answers how many there are.
func (s *subject) put(ctx context.Context, set string, w work, payload []byte) (int, error) {
	w.op = "PUT " + sizeName(len(payload))
	w.requests = func(c *client, _, i int) error {
		_, err := c.do(ask{method: "PUT", path: object(set, i), body: payload})
		return err
	}
	r, err := s.measure(ctx, w)
	return r.ops, err
}

// get reads n objects of one content, again and again.
func (s *subject) get(ctx context.Context, set string, conc, n int, payload []byte) error {
	_, err := s.measure(ctx, work{op: "GET " + sizeName(len(payload)), conc: conc, time: s.cell, requests: func(c *client, _, i int) error {
		_, err := c.do(ask{method: "GET", path: object(set, i*7919%n), want: payload})
		return err
	}})
	return err
}

// disk is how much of the disk the blobs take, and everything.
func (s *subject) disk() (blobs, all int64, err error) {
	for _, n := range s.Nodes {
		for _, d := range []struct {
			sum *int64
			dir string
		}{{&blobs, filepath.Join(n.Dir, "shard")}, {&all, n.Dir}} {
			size, err := stored(d.dir)
			if err != nil {
				return 0, 0, err
			}
			*d.sum += size
		}
	}
	return blobs, all, nil
}

// weigh runs fill, which answers how many bytes clients wrote, and notes what that took of the disk.
func (s *subject) weigh(size int, fill func() (int, error)) error {
	blobs, all, err := s.disk()
	if err != nil {
		return err
	}
	n, err := fill()
	if err != nil {
		return err
	}
	blobs2, all2, err := s.disk()
	if err != nil {
		return err
	}
	payload := float64(n) * float64(size)
	s.note("%d objects of %s: %.2f bytes of disk for each byte in the blobs' files, %.2f with index and log",
		n, sizeName(size), float64(blobs2-blobs)/payload, float64(all2-all)/payload)
	return nil
}

// small measures objects of 4 KiB and the operations that move no data.
func (s *subject) small(ctx context.Context) error {
	payload := noise(sizes[0])
	if _, err := s.put(ctx, "a", work{conc: 1, time: s.cell}, payload); err != nil {
		return err
	}
	n := 0
	err := s.weigh(len(payload), func() (_ int, err error) {
		n, err = s.put(ctx, "b", work{conc: 16, time: s.fill, max: s.objects}, payload)
		return n, err
	})
	if err != nil {
		return err
	}
	for _, conc := range concurrencies {
		if err := s.get(ctx, "b", conc, n, payload); err != nil {
			return err
		}
		_, err := s.measure(ctx, work{op: "STAT", conc: conc, time: s.cell, requests: func(c *client, _, i int) error {
			_, err := c.do(ask{method: "HEAD", path: object("b", i*7919%n)})
			return err
		}})
		if err != nil {
			return err
		}
		if err := s.list(ctx, conc, n); err != nil {
			return err
		}
	}
	s.listed = n
	return nil
}

// list reads the whole listing of n objects, page by page.
func (s *subject) list(ctx context.Context, conc, n int) error {
	_, err := s.measure(ctx, work{op: fmt.Sprintf("LIST of %d", n), conc: conc, time: s.cell, requests: func(c *client, _, _ int) error {
		seen, token := 0, ""
		for {
			// In the order of Signature Version 4's canonical query.
			query := "list-type=2&prefix=b%2F"
			if token != "" {
				query = "continuation-token=" + strings.ReplaceAll(url.QueryEscape(token), "+", "%20") + "&" + query
			}
			page, err := c.do(ask{method: "GET", path: "/" + bucket, query: query})
			if err != nil {
				return err
			}
			count, err := strconv.Atoi(element(page, "KeyCount"))
			if err != nil {
				return fmt.Errorf("a listing without KeyCount: %w", err)
			}
			seen += count
			if token = element(page, "NextContinuationToken"); token == "" {
				break
			}
		}
		if seen != n {
			return fmt.Errorf("the listing has %d of %d objects", seen, n)
		}
		return nil
	}})
	return err
}

// element is the text of the first XML element of that name.
func element(page []byte, name string) string {
	_, rest, _ := strings.Cut(string(page), "<"+name+">")
	text, _, found := strings.Cut(rest, "</"+name+">")
	if !found {
		return ""
	}
	return text
}

// deletes removes the listed objects: at most an eighth by one client, then the others by sixteen, as far as the time
// goes. It comes after the weighing, which space that is given back would falsify.
func (s *subject) deletes(ctx context.Context) error {
	from, n := 0, s.listed
	for _, w := range []work{{conc: 1, max: max(n/8, 1)}, {conc: 16, max: n}} {
		first := from
		w.op, w.time, w.max = "DELETE", s.cell, w.max-first
		w.requests = func(c *client, _, i int) error {
			_, err := c.do(ask{method: "DELETE", path: object("b", first+i), expect: 204})
			return err
		}
		r, err := s.measure(ctx, w)
		if err != nil {
			return err
		}
		from += r.ops
	}
	return nil
}

// larger measures objects of 1 and of 64 MiB.
func (s *subject) larger(ctx context.Context) error {
	for _, size := range sizes[1:] {
		payload := noise(size)
		for _, conc := range concurrencies {
			set := fmt.Sprintf("m%d-%d", size, conc)
			n := 0
			fill := func() (_ int, err error) {
				n, err = s.put(ctx, set, work{conc: conc, time: s.cell}, payload)
				return n, err
			}
			if err := s.weigh(size, fill); err != nil {
				return err
			}
			if err := s.get(ctx, set, conc, n, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

// noise are bytes that nothing can compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, as its documentation says
	return b
}
