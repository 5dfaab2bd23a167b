package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"unicode/utf8"
)

// maxDepth is deeper than any policy.
const maxDepth = 8

// object is a JSON object, with its members in order. Names are unique.
type object struct {
	members    []member
	start, end int64 // offsets in the text: of its first byte, and behind its last
}

type member struct {
	name  string
	value any
}

// members are an object's members by name. Any name that is not among known is refused.
func (d *dialect) members(raw any, known ...string) (map[string]any, error) {
	obj, ok := raw.(*object)
	if !ok {
		return nil, d.syntax("not an object")
	}
	out := make(map[string]any, len(obj.members))
	for _, m := range obj.members {
		if !slices.Contains(known, m.name) {
			if d.kind == Resource {
				return nil, &MalformedError{"Unknown field " + m.name, ""}
			}
			return nil, d.syntax("element " + quoted(m.name) + " is not understood")
		}
		if m.value == nil {
			return nil, d.syntax("element " + m.name + " is null")
		}
		out[m.name] = m.value
	}
	return out, nil
}

// readJSON reads one JSON value strictly: no name twice in an object, which encoding/json would
// overlook, and nothing behind the value. Numbers are json.Number.
func (d *dialect) readJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, d.notJSON("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	value, err := d.readValue(dec, 0)
	if err == nil {
		if _, trailing := dec.Token(); errors.Is(trailing, io.EOF) {
			return value, nil
		}
		return nil, d.notJSON("there is more behind the document")
	}
	if bad := (*MalformedError)(nil); errors.As(err, &bad) {
		return nil, err
	}
	return nil, d.notJSON(err.Error())
}

func (d *dialect) readValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, d.syntax("too deep")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return d.readObject(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			item, err := d.readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err = dec.Token()
		return list, err
	}
	return token, nil
}

func (d *dialect) readObject(dec *json.Decoder, depth int) (any, error) {
	obj, seen := &object{start: dec.InputOffset() - 1}, map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok || seen[name] {
			return nil, d.syntax("name " + quoted(name) + " stands twice")
		}
		seen[name] = true
		value, err := d.readValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		obj.members = append(obj.members, member{name, value})
	}
	_, err := dec.Token()
	obj.end = dec.InputOffset()
	return obj, err
}

// position is where an offset of the text is.
func position(text []byte, offset int64) Position {
	before := text[:offset]
	line := bytes.LastIndexByte(before, '\n') + 1
	return Position{Line: 1 + bytes.Count(before, []byte{'\n'}), Column: 1 + utf8.RuneCount(before[line:])}
}
