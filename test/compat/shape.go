package compat

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// service is what the Go SDK knows of a service.
type service struct {
	version   string
	namespace string
	client    reflect.Type
}

// services are those that scenarios can call, by signing name.
func services() map[string]service {
	return map[string]service{
		"iam": {"2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/", reflect.TypeFor[*iam.Client]()},
		"sts": {"2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/", reflect.TypeFor[*sts.Client]()},
	}
}

// operation is an operation's shapes as the SDK's structs.
type operation struct{ in, out reflect.Type }

func operationOf(name, op string) (operation, error) {
	s, ok := services()[name]
	if !ok {
		return operation{}, fmt.Errorf("no scenario can call the service %q", name)
	}
	m, ok := s.client.MethodByName(op)
	if !ok || m.Type.NumIn() != 4 || m.Type.NumOut() != 2 {
		return operation{}, fmt.Errorf("%s has no operation %q", name, op)
	}
	return operation{m.Type.In(2).Elem(), m.Type.Out(0).Elem()}, nil
}

// check finds what is wrong with a step without running it: names that the service does not have.
func (s *Step) check() error {
	if s.Verb != "call" {
		return nil
	}
	op, err := operationOf(s.Service, s.Op)
	if err != nil {
		return err
	}
	if s.Params != nil {
		if err := fits(s.Params, op.in, s.Op, true); err != nil {
			return err
		}
	}
	if s.Want.Answer != nil {
		return fits(s.Want.Answer, op.out, s.Op+"'s answer", false)
	}
	return nil
}

// isReference tells whether a string is one reference and so becomes any value.
func isReference(s string) bool {
	return strings.HasPrefix(s, "${") && strings.IndexByte(s, '}') == len(s)-1
}

// fits tells whether JSON of a scenario can be of a type: every member must be one of the type's.
func fits(v any, t reflect.Type, where string, input bool) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := v.(string); ok && (isReference(s) || !input && strings.HasPrefix(s, "#")) {
		return nil
	}
	if v == nil {
		return nil
	}
	switch {
	case t == reflect.TypeFor[time.Time](), t == reflect.TypeFor[[]byte]():
		return need[string](v, where)
	case t.Kind() == reflect.String:
		switch v.(type) {
		case string, map[string]any, []any:
			return nil // JSON of a policy document
		}
		return need[string](v, where)
	case t.Kind() == reflect.Bool:
		return need[bool](v, where)
	case t.Kind() == reflect.Int32, t.Kind() == reflect.Int64:
		return need[json.Number](v, where)
	case t.Kind() == reflect.Slice:
		return fitsList(v, t, where, input)
	case t.Kind() == reflect.Map:
		return fitsMembers(v, where, func(string) (reflect.Type, bool) { return t.Elem(), true }, input)
	case t.Kind() == reflect.Struct:
		return fitsMembers(v, where, func(name string) (reflect.Type, bool) {
			f, ok := field(t, name)
			return f.Type, ok
		}, input)
	}
	return fmt.Errorf("%s is of a type that scenarios do not know: %s", where, t)
}

// field is the field of an SDK struct for a member: its name with a capital.
func field(t reflect.Type, member string) (reflect.StructField, bool) {
	if member == "" || member == "ResultMetadata" {
		return reflect.StructField{}, false
	}
	f, ok := t.FieldByName(strings.ToUpper(member[:1]) + member[1:])
	return f, ok && f.IsExported()
}

func need[T any](v any, where string) error {
	if _, ok := v.(T); !ok {
		return fmt.Errorf("%s is %v: not what the API has there", where, v)
	}
	return nil
}

func fitsList(v any, t reflect.Type, where string, input bool) error {
	if n, of, ok := times(v); ok && n >= 0 {
		return fits(of, t.Elem(), where, input)
	}
	list, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%s is %v: the API has a list there", where, v)
	}
	for i, x := range list {
		if i == 0 && x == "…" && !input {
			continue
		}
		if err := fits(x, t.Elem(), fmt.Sprintf("%s[%d]", where, i), input); err != nil {
			return err
		}
	}
	return nil
}

func fitsMembers(v any, where string, member func(string) (reflect.Type, bool), input bool) error {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is %v: the API has members there", where, v)
	}
	for name, x := range object {
		t, ok := member(name)
		if !ok {
			return fmt.Errorf("%s has no member %q", where, name)
		}
		if err := fits(x, t, where+"."+name, input); err != nil {
			return err
		}
	}
	return nil
}

// asTyped makes the values of a call what its shape wants: JSON becomes text where the API wants a text. null is left out.
func asTyped(v any, t reflect.Type) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch x := v.(type) {
	case map[string]any:
		if t.Kind() == reflect.String {
			return compact(x)
		}
		out := map[string]any{}
		for name, value := range x {
			of := t
			if t.Kind() == reflect.Struct {
				f, ok := field(t, name)
				if !ok {
					return nil, fmt.Errorf("%s has no member %q", t, name)
				}
				of = f.Type
			} else if t.Kind() == reflect.Map {
				of = t.Elem()
			}
			if value == nil {
				continue
			}
			typed, err := asTyped(value, of)
			if err != nil {
				return nil, err
			}
			out[name] = typed
		}
		return out, nil
	case []any:
		if t.Kind() == reflect.String {
			return compact(x)
		}
		out := make([]any, len(x))
		for i := range x {
			var err error
			if out[i], err = asTyped(x[i], t.Elem()); err != nil {
				return nil, err
			}
		}
		return out, nil
	case string:
		if t.Kind() == reflect.Int32 || t.Kind() == reflect.Int64 {
			return json.Number(x), nil
		}
	}
	return v, nil
}

func compact(v any) (any, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}

// fill sets an SDK struct's fields from a call's parameters.
func fill(v any, to reflect.Value) error {
	t := to.Type()
	if t.Kind() == reflect.Pointer {
		to.Set(reflect.New(t.Elem()))
		return fill(v, to.Elem())
	}
	switch x := v.(type) {
	case string:
		switch {
		case t.Kind() == reflect.String:
			to.SetString(x)
			return nil
		case t == reflect.TypeFor[[]byte]():
			raw, err := base64.StdEncoding.DecodeString(x)
			to.SetBytes(raw)
			return err
		case t == reflect.TypeFor[time.Time]():
			when, err := time.Parse(time.RFC3339, x)
			to.Set(reflect.ValueOf(when))
			return err
		}
	case bool:
		if t.Kind() == reflect.Bool {
			to.SetBool(x)
			return nil
		}
	case json.Number:
		if n, err := x.Int64(); err == nil && to.CanInt() && !to.OverflowInt(n) {
			to.SetInt(n)
			return nil
		}
	case []any:
		if t.Kind() == reflect.Slice {
			to.Set(reflect.MakeSlice(t, len(x), len(x)))
			for i := range x {
				if err := fill(x[i], to.Index(i)); err != nil {
					return err
				}
			}
			return nil
		}
	case map[string]any:
		if t.Kind() == reflect.Struct {
			for name, value := range x {
				f, ok := field(t, name)
				if !ok {
					return fmt.Errorf("%s has no member %q", t, name)
				}
				if err := fill(value, to.FieldByIndex(f.Index)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		}
	}
	return fmt.Errorf("%v cannot be a %s", v, t)
}

// plain is an SDK struct as a client's answer. What the SDK left nil is absent.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		return plain(v.Elem())
	case reflect.Struct:
		if when, ok := v.Interface().(time.Time); ok {
			return when.UTC().Format(time.RFC3339)
		}
		out := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			field := v.Field(i)
			kind := field.Kind()
			if !f.IsExported() || f.Name == "ResultMetadata" || (kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map) && field.IsNil() ||
				kind == reflect.String && field.Len() == 0 { // an enum that did not come
				continue
			}
			out[f.Name] = plain(field)
		}
		return out
	case reflect.Slice:
		if raw, ok := v.Interface().([]byte); ok {
			return base64.StdEncoding.EncodeToString(raw)
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, key := range v.MapKeys() {
			out[key.String()] = plain(v.MapIndex(key))
		}
		return out
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32, reflect.Int64:
		return json.Number(strconv.FormatInt(v.Int(), 10))
	}
	return v.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
