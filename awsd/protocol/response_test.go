package protocol_test

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/aws/smithy-go/middleware"

	"hive/awsd/protocol"
)

// eventStreams are the operations that answer with an event stream, which is not spoken.
var eventStreams = map[string]bool{"s3/SelectObjectContent": true}

// An output with every member set goes through our encoder and a real connection to the SDK's own client,
// which must find the same output.
func TestAFilledOutputOfEveryOperationReachesTheSDKsClient(t *testing.T) {
	for _, r := range rigs {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			api := r.api()
			ops, err := api.Operations()
			must(t, err)
			if len(ops) != r.operations {
				t.Errorf("%d operations, want %d", len(ops), r.operations)
			}
			link := &responder{api: api, done: make(chan error, 1)}
			client := r.client(clientOptions{
				stack: []func(*middleware.Stack) error{unvalidated}, transport: serve(t, link.ServeHTTP),
			})
			same := 0
			for _, op := range ops {
				if eventStreams[r.name+"/"+op.Name] {
					continue
				}
				if d := link.roundTrip(client, op); d != "" {
					t.Errorf("%s: %s", op.Name, d)
					continue
				}
				same++
			}
			t.Logf("%s: %d of %d outputs arrive whole", r.name, same, len(ops))
		})
	}
}

// responder answers every request with what it is told to.
type responder struct {
	api    *protocol.API
	op     *protocol.Operation
	output any
	done   chan error // what encoding gave
}

func (l *responder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		l.done <- err
		return
	}
	l.done <- l.api.Encode(w, l.op, "the-request-id", l.output)
}

func (l *responder) roundTrip(client any, op *protocol.Operation) string {
	input := reflect.New(methodType(client, op.Name).In(1).Elem())
	output := reflect.New(methodType(client, op.Name).Out(0).Elem())
	f := &filler{nesting: map[reflect.Type]int{}, skip: map[string]bool{"ExpiresString": true}}
	f.fill(output.Elem())
	length := output.Elem().FieldByName("ContentLength")
	if length.IsValid() && op.Method != http.MethodHead {
		length.Elem().SetInt(int64(len(streamText)))
	}
	if v := input.Elem().FieldByName("BlockIndex"); v.IsValid() {
		v.Set(reflect.ValueOf(new(int32)))
	}
	for _, name := range []string{"Bucket", "Key", "RequestRoute", "SnapshotId", "SecondSnapshotId"} {
		if v := input.Elem().FieldByName(name); v.IsValid() {
			s := "route"
			v.Set(reflect.ValueOf(&s))
		}
	}
	select {
	case <-l.done: // of a request that failed
	default:
	}
	l.op, l.output = op, output.Interface()
	got, err := call(client, op.Name, input.Interface())
	if err != nil {
		return err.Error()
	}
	if err := <-l.done; err != nil {
		return "encoding: " + err.Error()
	}
	if d := streamDifference(got); d != "" {
		return d
	}
	forgetStream(reflect.ValueOf(got).Elem())
	forgetStream(output.Elem())
	return difference(op.Name, reflect.ValueOf(got), output)
}

func methodType(client any, op string) reflect.Type {
	return reflect.ValueOf(client).MethodByName(op).Type()
}

func streamDifference(got any) string {
	v := reflect.ValueOf(got).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Type != reflect.TypeFor[io.ReadCloser]() {
			continue
		}
		body, ok := v.Field(i).Interface().(io.ReadCloser)
		if !ok {
			return "the stream is missing"
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return err.Error()
		}
		if !bytes.Equal(data, []byte(streamText)) {
			return "the stream is " + string(data)
		}
	}
	return ""
}

// forgetStream clears what was compared apart, and the field that the client adds.
func forgetStream(v reflect.Value) {
	for i := range v.NumField() {
		if v.Type().Field(i).Type == reflect.TypeFor[io.ReadCloser]() || v.Type().Field(i).Name == "ExpiresString" {
			v.Field(i).SetZero()
		}
	}
}
