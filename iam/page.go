package iam

import (
	"encoding/base64"
	"fmt"
	"sort"
)

// page is what a listing was asked for: up to max items whose key is after a marker.
type page struct {
	after string // key of the last item that the client has; "" from the start
	max   int
}

const (
	defaultItems = 100
	maxItems     = 1000
)

// newPage reads a listing's Marker and MaxItems.
func newPage(marker *string, items *int32) (page, error) {
	p := page{max: defaultItems}
	if items != nil {
		if *items < 1 {
			return p, constraint(fmt.Sprintf("'%d'", *items), "maxItems", "Member must have value greater than or equal to 1")
		}
		if *items > maxItems {
			return p, constraint(fmt.Sprintf("'%d'", *items), "maxItems", fmt.Sprintf("Member must have value less than or equal to %d", maxItems))
		}
		p.max = int(*items)
	}
	if marker != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*marker)
		if err != nil || len(raw) == 0 {
			return p, invalid("Invalid Marker: use the Marker of the answer before, as it is.")
		}
		p.after = string(raw)
	}
	return p, nil
}

// cut is the page of items, which are sorted by key, and the marker of the next page, nil if there is none.
func cut[T any](p page, items []T, key func(T) string) ([]T, *string) {
	if p.after != "" {
		items = items[sort.Search(len(items), func(i int) bool { return key(items[i]) > p.after }):]
	}
	if len(items) <= p.max {
		return items, nil
	}
	return items[:p.max], marker(key(items[p.max-1]))
}

func marker(key string) *string {
	m := base64.RawURLEncoding.EncodeToString([]byte(key))
	return &m
}
