package s3

import (
	"context"
	"encoding/base64"
	"iter"
	"slices"
	"strings"

	"hive/fsm"
)

const maxPage = 1000

// listQuery asks for a page of a bucket's names in byte order.
type listQuery struct {
	scope
	prefix, delimiter string
	from              string // the first name that may be listed
	max               int
}

// entry is a line of a listing: an item, or a prefix that many names have in common. A name is
// an object's key; an upload's is its key, a zero byte, and its id.
type entry[T any] struct {
	name   string
	common bool
	item   T
}

// rows goes over a group's names of a bucket with their items, from one on.
type rows[T any] func(v *fsm.View, from string) iter.Seq2[string, T]

// list is the page that q asks for, and the name to go on from, "" when there is no more. Every group
// gives its own first entries; the first of all of them are the page.
func list[T any](ctx context.Context, s *Service, q listQuery, all rows[T]) (page []entry[T], next string, err error) {
	found := make([][]entry[T], len(s.cfg.Index))
	err = s.eachIndex(ctx, func(ctx context.Context, i int, g Group) error {
		return s.read(ctx, q.scope, g, func(v *fsm.View) error {
			found[i] = take(q, func(from string) iter.Seq2[string, T] { return all(v, from) })
			return nil
		})
	})
	if err != nil || q.max == 0 {
		return nil, "", err
	}
	page = found[0]
	if len(found) > 1 {
		page = slices.Concat(found...)
		slices.SortFunc(page, func(a, b entry[T]) int { return strings.Compare(a.name, b.name) })
		page = slices.CompactFunc(page, func(a, b entry[T]) bool { return a.common && a.name == b.name })
	}
	if len(page) <= q.max {
		return page, "", nil
	}
	page = page[:q.max]
	last := page[q.max-1]
	if last.common {
		return page, after(last.name), nil
	}
	return page, last.name + "\x00", nil
}

// take is the first entries of one group: one more than the page, to tell whether there are more.
// Of the names under a common prefix it reads the first and seeks past the others.
func take[T any](q listQuery, all func(from string) iter.Seq2[string, T]) []entry[T] {
	out := make([]entry[T], 0, min(q.max+1, 64))
	from, more := max(q.from, q.prefix), true
	for more {
		more = false
		for name, item := range all(from) {
			if !strings.HasPrefix(name, q.prefix) {
				break
			}
			common := commonPrefix(name, len(q.prefix), q.delimiter)
			if common != "" {
				out = append(out, entry[T]{name: common, common: true})
				from, more = after(common), true
			} else {
				out = append(out, entry[T]{name: name, item: item})
			}
			if len(out) > q.max {
				return out
			}
			if more {
				break
			}
		}
	}
	return out
}

// commonPrefix is the name up to the first delimiter after skip bytes, "" when it has none.
func commonPrefix(name string, skip int, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	key, _, _ := strings.Cut(name[skip:], "\x00")
	if i := strings.Index(key, delimiter); i >= 0 {
		return name[:skip+i+len(delimiter)]
	}
	return ""
}

// after is the first name behind all that begin with prefix, which is UTF-8 and not empty.
func after(prefix string) string {
	b := []byte(prefix)
	b[len(b)-1]++
	return string(b)
}

// inBucket goes over a table whose keys begin with the bucket's name and a zero byte.
func inBucket[K ~string, V any](t fsm.Table[K, V], bucket fsm.BucketName) rows[V] {
	inside := string(bucket) + "\x00"
	return func(v *fsm.View, from string) iter.Seq2[string, V] {
		return func(yield func(string, V) bool) {
			for k, item := range t.From(v, K(inside+from)) {
				name, ok := strings.CutPrefix(string(k), inside)
				if !ok || !yield(name, item) {
					return
				}
			}
		}
	}
}

// pageSize reads the number of entries that a client asks for.
func pageSize(asked *int32, argument string) (int, error) {
	switch {
	case asked == nil:
		return maxPage, nil
	case *asked < 0:
		return 0, invalidArgument.says("Argument "+argument+" must be an integer between 0 and 2147483647",
			"ArgumentName", argument, "ArgumentValue", decimal(int64(*asked)))
	}
	return min(int(*asked), maxPage), nil
}

func token(next string) *string {
	if next == "" {
		return nil
	}
	text := base64.URLEncoding.EncodeToString([]byte(next))
	return &text
}

func tokenValue(text string) (string, error) {
	next, err := base64.URLEncoding.DecodeString(text)
	if err != nil || len(next) == 0 {
		return "", badToken()
	}
	return string(next), nil
}
