package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	mathrand "math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
)

// registerInput is an operation on one key; registerOutput what it answered.
type registerInput struct {
	op, key, value string
	match          string // of putif: the value that is there
}

type registerOutput struct{ code, value string }

// registerModel is an object: a value, or "" for none.
var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) (out [][]porcupine.Operation) {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(registerInput).key
			byKey[key] = append(byKey[key], op)
		}
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(string), input.(registerInput), output.(registerOutput)
		switch in.op {
		case "put":
			return out.code == "", in.value
		case "delete":
			return out.code == "", ""
		case "create":
			if now != "" {
				return out.code == "PreconditionFailed", now
			}
			return out.code == "", in.value
		case "swap":
			switch {
			case now == "":
				return out.code == "NoSuchKey", now
			case now != in.match:
				return out.code == "PreconditionFailed", now
			}
			return out.code == "", in.value
		default: // get, list
			if now == "" {
				return out.code == "NoSuchKey", now
			}
			return out.code == "" && out.value == now, now
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// newNodes is the same service on three nodes over one store.
func newNodes(t *testing.T, groups int) []*Service {
	control := newReplicated(t, fsm.Control, 3)
	var index []*replicated
	for range groups {
		index = append(index, newReplicated(t, fsm.Index, 3))
	}
	blobs := newMemBlobs()
	var nodes []*Service
	for i := range 3 {
		cfg := Config{Region: testRegion, Control: control.nodes[i], Blobs: blobs, Clock: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)}
		for _, g := range index {
			cfg.Index = append(cfg.Index, g.nodes[i])
		}
		nodes = append(nodes, New(cfg))
	}
	return nodes
}

const clients, each = 9, 60

func value(client, n int) string { return fmt.Sprintf("%d-%d", client, n) }

// valueOf is the value with an entity tag.
func valueOf(etag string) string {
	for c := range clients {
		for n := range each {
			if hex.EncodeToString(sum(value(c, n))) == unquoted(etag) {
				return value(c, n)
			}
		}
	}
	return "a value that nobody wrote"
}

func TestObjectsAreLinearizableOverNodes(t *testing.T) {
	nodes := newNodes(t, 2)
	ctx := context.Background()
	_, err := nodes[0].CreateBucket(ctx, alice, &sdk.CreateBucketInput{
		Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion},
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			random := mathrand.New(mathrand.NewSource(int64(c)))
			last := "nothing"
			for n := range each {
				in := registerInput{
					op:  []string{"put", "get", "get", "list", "delete", "create", "swap", "swap"}[random.Intn(8)],
					key: []string{"a", "b", "c"}[random.Intn(3)], value: value(c, n), match: last,
				}
				call := time.Since(begin)
				out := register(ctx, t, nodes[c%3], in)
				op := porcupine.Operation{ClientId: c, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(begin))}
				if out.value != "" {
					last = out.value
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if result := porcupine.CheckOperationsTimeout(registerModel, history, time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable: %v", len(history), result)
	}
}

func register(ctx context.Context, t *testing.T, s *Service, in registerInput) registerOutput {
	bucket, key := str("bucket"), &in.key
	var err error
	got := ""
	switch in.op {
	case "put", "create", "swap":
		put := &sdk.PutObjectInput{Bucket: bucket, Key: key, Body: textBody(in.value), Metadata: map[string]string{"v": in.value}}
		if in.op == "create" {
			put.IfNoneMatch = str("*")
		}
		if in.op == "swap" {
			put.IfMatch = str(hex.EncodeToString(sum(in.match)))
		}
		_, err = s.PutObject(ctx, alice, put)
	case "delete":
		_, err = s.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: bucket, Key: key})
	case "get":
		var out *sdk.GetObjectOutput
		if out, err = s.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: bucket, Key: key}); err == nil {
			got = readAll(t, out.Body)
		}
	case "list":
		var out *sdk.ListObjectsV2Output
		if out, err = s.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: bucket, Prefix: key}); err == nil && len(out.Contents) == 0 {
			err = noSuchKey.with()
		} else if err == nil {
			return registerOutput{value: valueOf(*out.Contents[0].ETag)}
		}
	}
	if err != nil && codeOf(err) == "" {
		t.Errorf("%+v: %v", in, err)
	}
	return registerOutput{codeOf(err), got}
}

// Buckets come and go while objects are written: an acknowledged write is there until it is deleted, and
// a bucket is never deleted with an object in it.
func TestNoAcknowledgedObjectIsLostWhileItsBucketIsDeletedAndCreated(t *testing.T) {
	nodes := newNodes(t, 3)
	ctx := context.Background()
	in := &sdk.CreateBucketInput{Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion}}
	var running sync.WaitGroup
	for c := range 6 {
		running.Go(func() {
			s, random := nodes[c%3], mathrand.New(mathrand.NewSource(int64(c)))
			for n := range 40 {
				key := value(c, n)
				if random.Intn(3) == 0 {
					_, err := s.CreateBucket(ctx, alice, in)
					oneOf(t, err, "", "BucketAlreadyOwnedByYou", "OperationAborted")
				}
				_, err := s.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: &key, Body: textBody(key)})
				oneOf(t, err, "", "NoSuchBucket", "OperationAborted")
				if err == nil {
					got, err := nodes[random.Intn(3)].GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: &key})
					if err != nil {
						t.Errorf("%s was acknowledged: %v", key, err)
						return
					}
					readAll(t, got.Body)
					_, err = nodes[random.Intn(3)].DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: &key})
					oneOf(t, err, "")
				}
				_, err = nodes[random.Intn(3)].DeleteBucket(ctx, alice, &sdk.DeleteBucketInput{Bucket: str("bucket")})
				oneOf(t, err, "", "NoSuchBucket", "BucketNotEmpty", "OperationAborted")
			}
		})
	}
	running.Wait()
	_, err := nodes[0].DeleteBucket(ctx, alice, &sdk.DeleteBucketInput{Bucket: str("bucket")})
	oneOf(t, err, "", "NoSuchBucket")
	if _, err := nodes[1].CreateBucket(ctx, alice, in); err != nil {
		t.Error(err)
	}
}

func oneOf(t *testing.T, err error, codes ...string) {
	t.Helper()
	if !slices.Contains(codes, codeOf(err)) || err != nil && codeOf(err) == "" {
		t.Errorf("answered %v, want one of %q", err, codes)
	}
}
