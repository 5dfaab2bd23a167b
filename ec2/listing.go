package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// listing is a describe of records of one kind.
type listing[T any] struct {
	op         string
	in         any // its input
	filters    []types.Filter
	maxResults *int32
	token      *string
	limits     limits // of MaxResults; none: usual
	dry        *bool
	table      filterTable[T]
	order      func(T) string
	rows       func(v *fsm.View) ([]T, error) // what was asked for, in any order
}

// list answers the page of rows that match, in their order, and the next page's token.
func list[T any](ctx context.Context, s *Service, c *principal.Caller, l listing[T]) ([]T, *string, error) {
	matches, err := l.table.compile(l.filters)
	if err != nil {
		return nil, nil, err
	}
	if l.limits == (limits{}) {
		l.limits = usual
	}
	p, err := newPage(pageRequest{c.Account, l.op, l.in, l.maxResults, l.token}, l.limits)
	if err != nil {
		return nil, nil, err
	}
	if err := dryRun(l.dry); err != nil {
		return nil, nil, err
	}
	var rows []T
	err = s.read(ctx, func(v *fsm.View) (err error) {
		rows, err = l.rows(v)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	rows = slices.DeleteFunc(rows, func(x T) bool { return !matches(x) })
	slices.SortFunc(rows, func(a, b T) int { return strings.Compare(l.order(a), l.order(b)) })
	rows, next := turn(p, rows, l.order)
	return rows, next, nil
}

// chosen are the rows whose id is among ids, or all; an id that none has is NotFound.
func chosen[T any](rows []T, ids []string, id func(T) string) ([]T, error) {
	if len(ids) == 0 {
		return rows, nil
	}
	var unknown []string
	for _, want := range ids {
		if !slices.ContainsFunc(rows, func(x T) bool { return id(x) == want }) {
			unknown = append(unknown, want)
		}
	}
	if unknown != nil {
		return nil, notFound(unknown...)
	}
	return slices.DeleteFunc(rows, func(x T) bool { return !slices.Contains(ids, id(x)) }), nil
}
