package protocol

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// pathRoutes finds the operation of a restJson1 request: its method and path say it alone. Query parameters that
// the operation does not have are overlooked, as AWS does, and never make it another operation.
type pathRoutes struct {
	dialect dialect
	routes  []pathRoute
}

type pathRoute struct {
	op       *Operation
	segments []string // as they are, or "{Label}"
}

func newPathRoutes(a *API) *pathRoutes {
	rs := &pathRoutes{dialect: a.dialect}
	for _, op := range a.table.byName {
		rs.routes = append(rs.routes, pathRoute{op, strings.Split(op.level, "/")})
	}
	return rs
}

func (rs *pathRoutes) find(r *http.Request) (*Operation, error) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	for _, route := range rs.routes {
		if route.op.Method == r.Method && route.matches(segments) {
			return route.op, nil
		}
	}
	return nil, rs.dialect.missingAction()
}

func (p pathRoute) matches(segments []string) bool {
	if len(segments) != len(p.segments) {
		return false
	}
	for i, want := range p.segments {
		if isLabel(want) && segments[i] == "" || !isLabel(want) && segments[i] != want {
			return false
		}
	}
	return true
}

func isLabel(segment string) bool { return strings.HasPrefix(segment, "{") }

func (rs *pathRoutes) labels(op *Operation, r *http.Request) ([]pair, error) {
	want, got := strings.Split(op.level, "/"), strings.Split(r.URL.EscapedPath(), "/")
	var out []pair
	for i, segment := range want {
		if !isLabel(segment) || i >= len(got) {
			continue
		}
		value, err := url.PathUnescape(got[i])
		if err != nil || !utf8.ValidString(value) {
			return nil, rs.dialect.malformed("the path is not escaped correctly")
		}
		out = append(out, pair{strings.Trim(segment, "{}"), value})
	}
	return out, nil
}
