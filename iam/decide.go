package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// decide reads and decides with choose and records what it chose, again when the record was changed meanwhile. A nil
// command means that nothing is to be changed. name is what the log calls the thing.
func (s *Service) decide(ctx context.Context, c *principal.Caller, name string, choose func(*fsm.View) (fsm.Command, error)) error {
	for try := 1; ; try++ {
		var cmd fsm.Command
		err := s.read(ctx, func(v *fsm.View) (err error) {
			cmd, err = choose(v)
			return err
		})
		if err != nil || cmd == nil {
			return err
		}
		err = s.cfg.Group.Propose(ctx, cmd)
		if (errors.Is(err, fsm.ErrConflict) || errors.Is(err, fsm.ErrNotFound)) && try < maxTries {
			continue // what was read has changed or is gone: reading it again tells
		}
		if err != nil {
			return refusal(err, "")
		}
		s.cfg.Log.InfoContext(ctx, "IAM changed", "change", fmt.Sprintf("%T", cmd), "account", c.Account, "name", name, "by", c.ARN)
		return nil
	}
}

// pageOfTags is the page of tags, in order of key, that a listing asked for.
func pageOfTags(p page, tags []fsm.Tag) ([]types.Tag, *string) {
	tags = slices.Clone(tags)
	slices.SortFunc(tags, func(a, b fsm.Tag) int { return strings.Compare(a.Key, b.Key) })
	tags, next := cut(p, tags, func(t fsm.Tag) string { return t.Key })
	return tagsOut(tags), next
}
