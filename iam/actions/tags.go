package actions

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
)

// tagSource is where a request has tags, and how.
type tagSource struct {
	path   path
	style  tagStyle
	prefix string // of the condition keys of single tags
	names  string // the condition key of all keys
	spec   string // of TagSpecifications: the type of resource whose tags count
	fields tagFields
}

// tagFields are the indexes of members: of a tag's key and value, and of a specification's type and tags.
type tagFields struct{ key, value, kind, tags int }

type tagStyle uint8

const (
	tagList   tagStyle = iota // structs of Key and Value
	tagMap                    // map[string]string
	tagKeys                   // strings
	tagQuery                  // a=b&c=d
	tagBySpec                 // TagSpecifications
)

// tagSource compiles tags=Member, tagkeys=Member and objecttags=Member.
func (b *builder) tagSource(k keyText, spec string) (tagSource, error) {
	p, err := b.scope.path(k.value)
	if err != nil {
		return tagSource{}, err
	}
	s := tagSource{path: *p, prefix: "aws:requesttag/", names: "aws:tagkeys", spec: spec}
	if k.name == "objecttags" {
		s.prefix, s.names = "s3:requestobjecttag/", "s3:requestobjecttagkeys"
	}
	t := memberType(b.scope, p)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Map:
		s.style = tagMap
	case t.Kind() == reflect.String && k.name == "objecttags":
		s.style = tagQuery
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && k.name == "tagkeys":
		s.style = tagKeys
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return s, s.ofStructs(t.Elem())
	default:
		return s, fmt.Errorf("%s=%s: no tags are a %s", k.name, k.value, t)
	}
	return s, nil
}

func memberType(s scope, p *path) reflect.Type {
	t := s.in
	if p.elem {
		t = s.elem
	}
	for _, i := range p.fields {
		t = under(t).Field(i).Type
	}
	return t
}

func (s *tagSource) ofStructs(t reflect.Type) error {
	if kind, ok := t.FieldByName("ResourceType"); ok {
		tags, _ := t.FieldByName("Tags")
		s.style, s.fields.kind, s.fields.tags = tagBySpec, kind.Index[0], tags.Index[0]
		t = under(tags.Type)
	}
	key, ok := t.FieldByName("Key")
	value, also := t.FieldByName("Value")
	if !ok || !also {
		return fmt.Errorf("%s is no tag", t)
	}
	s.fields.key, s.fields.value = key.Index[0], value.Index[0]
	return nil
}

// facts appends the condition keys of the request's tags.
func (s *tagSource) facts(dst []fact, e *env) []fact {
	v := listAt(s.path.from(e), s.path.fields)
	if !v.IsValid() {
		return dst
	}
	switch s.style {
	case tagMap:
		for it := v.MapRange(); it.Next(); {
			dst = s.one(dst, it.Key().String(), it.Value().String())
		}
	case tagKeys:
		for i := range v.Len() {
			dst = append(dst, fact{s.names, v.Index(i).String()})
		}
	case tagQuery:
		dst = s.query(dst, v.String())
	case tagList:
		dst = s.list(dst, v)
	case tagBySpec:
		for i := range v.Len() {
			if x := v.Index(i); s.spec == "" || x.Field(s.fields.kind).String() == s.spec {
				dst = s.list(dst, x.Field(s.fields.tags))
			}
		}
	}
	return dst
}

func (s *tagSource) list(dst []fact, v reflect.Value) []fact {
	for i := range v.Len() {
		key, _ := first(v.Index(i), []int{s.fields.key}, false)
		value, _ := first(v.Index(i), []int{s.fields.value}, false)
		dst = s.one(dst, key, value)
	}
	return dst
}

// query reads tags as S3 has them in a header. What cannot be read the handler refuses.
func (s *tagSource) query(dst []fact, text string) []fact {
	for pair := range strings.SplitSeq(text, "&") {
		key, value, _ := strings.Cut(pair, "=")
		k, err1 := url.QueryUnescape(key)
		v, err2 := url.QueryUnescape(value)
		if k != "" && err1 == nil && err2 == nil {
			dst = s.one(dst, k, v)
		}
	}
	return dst
}

func (s *tagSource) one(dst []fact, key, value string) []fact {
	return append(dst, fact{s.prefix + strings.ToLower(key), value}, fact{s.names, key})
}

// requestTag is the condition keys of a tag that a request carries.
func requestTag(key, value string) []fact {
	return []fact{{"aws:requesttag/" + strings.ToLower(key), value}, {"aws:tagkeys", key}}
}

// attributes is which members of an input change a resource, for ec2:Attribute.
type attributes []attribute

type attribute struct {
	name, key string // "InstanceType", "ec2:attribute/instancetype"
	field     int
	inner     []int // of the value within: AttributeValue.Value
}

// attributesOf are the members that do: all but the id of what is changed and the flags of the request.
func attributesOf(in reflect.Type) attributes {
	var out attributes
	for i := range in.NumField() {
		f := in.Field(i)
		id := strings.HasSuffix(f.Name, "Id") && f.Type == reflect.TypeFor[*string]()
		if !f.IsExported() || id || f.Name == "DryRun" || f.Name == "Value" {
			continue
		}
		a := attribute{name: f.Name, key: "ec2:attribute/" + strings.ToLower(f.Name), field: i}
		if t := under(f.Type); f.Type.Kind() == reflect.Pointer {
			if v, ok := t.FieldByName("Value"); ok {
				a.inner = v.Index
			}
		}
		out = append(out, a)
	}
	return out
}

// facts appends which attributes the request changes, and to what.
func (a attributes) facts(dst []fact, e *env) []fact {
	for _, x := range a {
		v := e.in.Field(x.field)
		if v.IsZero() {
			continue
		}
		if x.name == "Attribute" { // an enum that names one
			dst = append(dst, fact{"ec2:attribute", v.String()})
			continue
		}
		dst = append(dst, fact{"ec2:attribute", x.name})
		if value, ok := first(v, x.inner, false); ok {
			dst = append(dst, fact{x.key, value})
		}
	}
	return dst
}
