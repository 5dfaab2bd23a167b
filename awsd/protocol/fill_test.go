package protocol_test

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"time"

	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// filler sets every member of an SDK struct to a value that depends on nothing but where it stands.
type filler struct {
	n       int
	nesting map[reflect.Type]int
	skip    map[string]bool // field names
}

// unionValues are the members that a union is filled with.
var unionValues = map[reflect.Type]any{
	reflect.TypeFor[s3types.AnalyticsFilter]():   &s3types.AnalyticsFilterMemberTag{},
	reflect.TypeFor[s3types.MetricsFilter]():     &s3types.MetricsFilterMemberAnd{},
	reflect.TypeFor[s3types.ObjectEncryption]():  &s3types.ObjectEncryptionMemberSSEKMS{},
	reflect.TypeFor[iamtypes.PolicyIdentifier](): &iamtypes.PolicyIdentifierMemberPolicyArn{},
}

const streamText = "a stream's bytes"

func (f *filler) fill(v reflect.Value) {
	f.n++
	switch v.Kind() {
	case reflect.Pointer:
		if f.nesting[v.Type()] > 1 {
			return // a shape that holds itself
		}
		f.nesting[v.Type()]++
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
		f.nesting[v.Type()]--
	case reflect.Struct:
		f.fillStruct(v)
	case reflect.Slice:
		f.fillSlice(v)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 2 {
			value := reflect.New(v.Type().Elem()).Elem()
			f.fill(value)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprintf("key%d", i)), value)
		}
	case reflect.Interface:
		f.fillInterface(v)
	default:
		f.fillScalar(v)
	}
}

func (f *filler) fillStruct(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1700000000+int64(f.n), 0).UTC()))
		return
	}
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.IsExported() && sf.Type != reflect.TypeFor[middleware.Metadata]() && !f.skip[sf.Name] {
			f.fill(v.Field(i))
		}
	}
}

func (f *filler) fillSlice(v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes(fmt.Appendf(nil, "bytes<%d>", f.n))
		return
	}
	if f.nesting[v.Type()] > 1 {
		return
	}
	f.nesting[v.Type()]++
	v.Set(reflect.MakeSlice(v.Type(), 1+f.n%2, 2))
	for i := range v.Len() {
		f.fill(v.Index(i))
	}
	f.nesting[v.Type()]--
}

func (f *filler) fillInterface(v reflect.Value) {
	if u, ok := unionValues[v.Type()]; ok {
		variant := reflect.New(reflect.TypeOf(u).Elem())
		f.fill(variant.Elem())
		v.Set(variant)
		return
	}
	if v.Type() == reflect.TypeFor[io.ReadCloser]() {
		v.Set(reflect.ValueOf(io.NopCloser(bytes.NewReader([]byte(streamText)))))
	}
}

func (f *filler) fillScalar(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if values := reflect.Zero(v.Type()).MethodByName("Values"); values.IsValid() {
			all := values.Call(nil)[0]
			v.Set(all.Index(f.n % all.Len()))
			return
		}
		v.SetString(fmt.Sprintf("text %d & <é>\"'", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.n) + 0.5)
	}
}

// difference is the first place where two values differ, "" when there is none.
func difference(path string, got, want reflect.Value) string {
	if got.Kind() != want.Kind() {
		return fmt.Sprintf("%s: got a %v, want a %v", path, got.Kind(), want.Kind())
	}
	if t, ok := want.Interface().(time.Time); ok {
		if g := got.Interface().(time.Time); !g.Equal(t) {
			return fmt.Sprintf("%s: got %v, want %v", path, g, t)
		}
		return ""
	}
	switch want.Kind() {
	case reflect.Pointer, reflect.Interface:
		if got.IsNil() || want.IsNil() {
			if got.IsNil() != want.IsNil() {
				return fmt.Sprintf("%s: got nil %v, want nil %v", path, got.IsNil(), want.IsNil())
			}
			return ""
		}
		return difference(path, got.Elem(), want.Elem())
	case reflect.Struct:
		return structDifference(path, got, want)
	case reflect.Slice:
		if got.Len() != want.Len() || got.IsNil() != want.IsNil() {
			return fmt.Sprintf("%s: got %d elements (nil %v), want %d (nil %v)", path, got.Len(), got.IsNil(), want.Len(), want.IsNil())
		}
		for i := range want.Len() {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i)); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(got.Interface(), want.Interface()) {
		return fmt.Sprintf("%s: got %#v, want %#v", path, got.Interface(), want.Interface())
	}
	return ""
}

func structDifference(path string, got, want reflect.Value) string {
	if got.Type() != want.Type() {
		return fmt.Sprintf("%s: got a %v, want a %v", path, got.Type(), want.Type())
	}
	for i := range want.NumField() {
		sf := want.Type().Field(i)
		if !sf.IsExported() || sf.Type == reflect.TypeFor[middleware.Metadata]() {
			continue
		}
		if d := difference(path+"."+sf.Name, got.Field(i), want.Field(i)); d != "" {
			return d
		}
	}
	return ""
}
