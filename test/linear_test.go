package test

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/test/rig"
)

// What a register operation can be.
type opKind int

const (
	opGet opKind = iota
	opPut
	opDelete
	opCreate // put if there is none
	opSwap   // put if it still is Old
)

// regIn is an operation on a register: an object, or a user, whose value is its path.
type regIn struct {
	Kind     opKind
	Key      string
	New, Old string
}

// regOut is what was answered. Unknown: no answer, so it may have happened at any time from then on.
type regOut struct {
	Value   string // read by opGet, or given by a create; "" is none
	OK      bool   // a condition held
	Unknown bool
}

// register is the model: each key holds a value or none ("").
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			byKey[op.Input.(regIn).Key] = append(byKey[op.Input.(regIn).Key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(regIn), output.(regOut)
		next, ok := apply(s, in)
		if out.Unknown {
			return true, next
		}
		if in.Kind == opGet {
			return out.Value == s, s
		}
		return out.OK == ok, next
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

// apply is what an operation does to a register, and whether its condition holds.
func apply(s string, in regIn) (next string, ok bool) {
	switch in.Kind {
	case opPut:
		return in.New, true
	case opDelete:
		return "", in.Old == "" || s != "" // Old is set where a delete of nothing is an error
	case opCreate:
		if s != "" {
			return s, false
		}
		return in.New, true
	case opSwap:
		if s != in.Old {
			return s, false
		}
		return in.New, true
	}
	return s, true
}

// history gathers the operations of clients that work at once.
type history struct {
	mu  sync.Mutex // guards what follows
	ops []porcupine.Operation
	ids int
}

// client is the next client's number: one that got no answer goes on as another.
func (h *history) client() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids++
	return h.ids - 1
}

// do runs one operation and writes it down. It answers whether the outcome is known.
func (h *history) do(client int, in regIn, call func() regOut) bool {
	began := time.Now().UnixNano()
	out := call()
	ended := time.Now().UnixNano()
	if out.Unknown {
		if in.Kind == opGet {
			return true // a read without an answer says nothing
		}
		ended = 1<<63 - 1
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: began, Return: ended})
	return !out.Unknown
}

// objects are the registers of S3.
type objects struct{ bucket string }

func (o objects) call(ctx context.Context, client *s3.Client, in regIn) (out regOut) {
	var err error
	body := strings.NewReader(in.New)
	switch in.Kind {
	case opGet:
		out.Value, err = o.get(ctx, client, in.Key)
	case opPut:
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &o.bucket, Key: &in.Key, Body: body})
	case opDelete:
		_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &o.bucket, Key: &in.Key})
	case opCreate:
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &o.bucket, Key: &in.Key, Body: body, IfNoneMatch: aws.String("*")})
	case opSwap:
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &o.bucket, Key: &in.Key, Body: body, IfMatch: aws.String(fmt.Sprintf(`"%x"`, md5.Sum([]byte(in.Old))))})
	}
	switch code(err) {
	case "PreconditionFailed":
		return regOut{}
	case "NoSuchKey":
		if in.Kind == opSwap {
			return regOut{}
		}
		return regOut{OK: true}
	}
	out.OK, out.Unknown = err == nil, err != nil
	return out
}

func (o objects) get(ctx context.Context, client *s3.Client, key string) (string, error) {
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &key})
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(got.Body)
	return string(raw), errors.Join(err, got.Body.Close())
}

// users are the registers of IAM: created and deleted, never overwritten.
type users struct{}

func (users) call(ctx context.Context, client *iam.Client, in regIn) (out regOut) {
	var err error
	switch in.Kind {
	case opGet:
		var got *iam.GetUserOutput
		if got, err = client.GetUser(ctx, &iam.GetUserInput{UserName: &in.Key}); err == nil {
			out.Value = strings.TrimPrefix(*got.User.Path, "/")
		}
	case opCreate:
		// The path tells which create a user came from.
		_, err = client.CreateUser(ctx, &iam.CreateUserInput{UserName: &in.Key, Path: aws.String("/" + in.New)})
	case opDelete:
		_, err = client.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &in.Key})
	}
	switch code(err) {
	case "EntityAlreadyExists":
		return regOut{}
	case "NoSuchEntity":
		return regOut{OK: in.Kind == opGet}
	}
	out.OK, out.Unknown = err == nil, err != nil
	return out
}

// clients run operations, drawn by draw, on keys that change every few operations, so that a doubt does not follow a key
// for ever.
func clients(t *testing.T, h *history, n int, stop <-chan struct{}, step func(ctx context.Context, node int, in regIn) regOut, draw func(key, value string) regIn) *sync.WaitGroup {
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			id := h.client()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("r%d-%d", int(time.Since(began)/(2*time.Second)), rand.IntN(2))
				in := draw(key, fmt.Sprintf("v%d-%d/", id, i))
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				known := h.do(id, in, func() regOut { return step(ctx, rand.IntN(3), in) })
				cancel()
				if !known {
					id = h.client()
				}
			}
		})
	}
	return &wg
}

// TestHistoriesAreLinearizable drives registers through all nodes while leaders die and partitions come and go.
func TestHistoriesAreLinearizable(t *testing.T) {
	w := newNetwork(t, 3)
	c := form(t, 3, w.options)
	k := root(c)
	bucket(t, s3Client(c.Nodes[0], k), "registers")
	var objectHistory, userHistory history
	var s3s []*s3.Client
	var iams []*iam.Client
	for _, n := range c.Nodes {
		s3s, iams = append(s3s, s3Client(n, k)), append(iams, iamClient(n, k))
	}
	var last sync.Map // key: the value that a client has last read or written, for swaps
	stop := make(chan struct{})
	objectClients := clients(t, &objectHistory, 6, stop, func(ctx context.Context, node int, in regIn) regOut {
		out := objects{"registers"}.call(ctx, s3s[node], in)
		if in.Kind == opGet && !out.Unknown {
			last.Store(in.Key, out.Value)
		} else if out.OK && in.Kind != opDelete {
			last.Store(in.Key, in.New)
		}
		return out
	}, func(key, value string) regIn {
		old, _ := last.Load(key)
		kind := []opKind{opGet, opGet, opGet, opPut, opPut, opDelete, opCreate, opSwap}[rand.IntN(8)]
		if kind == opSwap && (old == nil || old == "") {
			kind = opCreate
		}
		in := regIn{Kind: kind, Key: key, New: value}
		if kind == opSwap {
			in.Old = old.(string)
		}
		return in
	})
	userClients := clients(t, &userHistory, 3, stop, func(ctx context.Context, node int, in regIn) regOut {
		return users{}.call(ctx, iams[node], in)
	}, func(key, value string) regIn {
		in := regIn{Kind: []opKind{opGet, opGet, opCreate, opCreate, opDelete}[rand.IntN(5)], Key: key, New: value}
		if in.Kind == opDelete {
			in.Old = "must exist"
		}
		return in
	})
	faults(t, w, c, &objectHistory)
	close(stop)
	objectClients.Wait()
	userClients.Wait()
	check(t, "objects", &objectHistory)
	check(t, "users", &userHistory)
}

// faults kills leaders and cuts nodes off, by turns.
func faults(t *testing.T, w *network, c *rig.Cluster, h *history) {
	for round := range 6 {
		settle(t, h, 60)
		group := []string{"control", "index-0"}[round%2]
		leader, err := c.Leader(soon(t), group)
		must(t, err)
		if round%3 == 2 {
			t.Logf("round %d: %s, which leads %s, is killed", round, leader.Name, group)
			must(t, leader.Kill())
			settle(t, h, 30)
			must(t, c.StartAll(soon(t)))
			continue
		}
		cut := (index(c, leader) + round/3) % 3
		t.Logf("round %d: %s leads %s, %s is cut off", round, leader.Name, group, c.Nodes[cut].Name)
		w.isolate(cut)
		settle(t, h, 40)
		w.heal(cut)
	}
	must(t, c.Ready(soon(t)))
	settle(t, h, 60)
}

// settle waits for n more known operations.
func settle(t *testing.T, h *history, n int) {
	t.Helper()
	known := func() (k int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, op := range h.ops {
			if !op.Output.(regOut).Unknown {
				k++
			}
		}
		return k
	}
	want := known() + n
	waitFor(t, fmt.Sprintf("%d more answers", n), func() error {
		if k := known(); k < want {
			return fmt.Errorf("%d of %d", k, want)
		}
		return nil
	})
}

func check(t *testing.T, what string, h *history) {
	t.Helper()
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(regOut).Unknown {
			unknown++
		}
	}
	result, info := porcupine.CheckOperationsVerbose(register, h.ops, 2*time.Minute)
	t.Logf("%s: %d operations, %d without an answer: %s", what, len(h.ops), unknown, result)
	if result == porcupine.Ok {
		return
	}
	file := filepath.Join(os.TempDir(), "hive-"+what+".html")
	if os.Getenv("HIVE_TEST_KEEP") != "" {
		must(t, porcupine.VisualizePath(register, info, file))
		t.Logf("see %s", file)
	}
	t.Errorf("the history of %s is not linearizable: %s", what, result)
}

// TestTheModelRefusesWhatIsNotLinearizable: a check that could not fail would prove nothing.
func TestTheModelRefusesWhatIsNotLinearizable(t *testing.T) {
	op := func(client int, in regIn, out regOut, call, ret int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: ret}
	}
	put := op(0, regIn{Kind: opPut, Key: "k", New: "a"}, regOut{OK: true}, 0, 10)
	for name, bad := range map[string][]porcupine.Operation{
		"a lost write":     {put, op(1, regIn{Kind: opGet, Key: "k"}, regOut{}, 20, 30)},
		"an old read":      {put, op(0, regIn{Kind: opPut, Key: "k", New: "b"}, regOut{OK: true}, 11, 12), op(1, regIn{Kind: opGet, Key: "k"}, regOut{Value: "a"}, 20, 30)},
		"two creates":      {op(0, regIn{Kind: opCreate, Key: "k", New: "a"}, regOut{OK: true}, 0, 5), op(1, regIn{Kind: opCreate, Key: "k", New: "b"}, regOut{OK: true}, 1, 6)},
		"a swap of an old": {put, op(0, regIn{Kind: opSwap, Key: "k", New: "c", Old: "b"}, regOut{OK: true}, 11, 12)},
	} {
		if porcupine.CheckOperations(register, bad) {
			t.Errorf("%s passes", name)
		}
	}
	doubt := op(1, regIn{Kind: opPut, Key: "k", New: "b"}, regOut{Unknown: true}, 0, 1<<63-1)
	for _, value := range []string{"a", "b"} {
		if !porcupine.CheckOperations(register, []porcupine.Operation{put, doubt, op(2, regIn{Kind: opGet, Key: "k"}, regOut{Value: value}, 20, 30)}) {
			t.Errorf("a write in doubt does not permit %q", value)
		}
	}
}
