package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"hive/test/rig"
)

// proposers are the concurrencies of the proposals; the largest is how many users there are.
var proposers = []int{1, 16, 64}

// proposals measures an IAM call that is one entry of the control group's log: a tag on a user. Every client has its
// own user, because changes of one user at once are refused.
func (s *subject) proposals(ctx context.Context) error {
	c := s.client(0)
	for i := range slices.Max(proposers) {
		if _, err := c.do(iam(fmt.Sprintf("Action=CreateUser&UserName=bench%d", i))); err != nil {
			return err
		}
	}
	if err := c.close(); err != nil {
		return err
	}
	for _, conc := range proposers {
		_, err := s.measure(ctx, work{op: "proposal (TagUser)", conc: conc, time: s.cell, requests: func(c *client, worker, i int) error {
			_, err := c.do(iam(fmt.Sprintf("Action=TagUser&UserName=bench%d&Tags.member.1.Key=i&Tags.member.1.Value=v%d", worker, i)))
			return err
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func iam(form string) ask {
	return ask{method: "POST", path: "/", service: "iam", form: true, body: []byte(form + "&Version=" + url.QueryEscape("2010-05-08"))}
}

// failovers kills the leader of the objects' index several times, and notes how long it took until another node
// had written an object and read it back.
func (s *subject) failovers(ctx context.Context) error {
	var took []time.Duration
	for i := range s.failures {
		d, err := s.failover(ctx, i)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	s.note("leader killed with SIGKILL, until another node has written an object and read it again: median %.2f s, longest %.2f s of %d",
		took[len(took)/2].Seconds(), took[len(took)-1].Seconds(), len(took))
	return nil
}

func (s *subject) failover(ctx context.Context, i int) (time.Duration, error) {
	leader, err := s.Leader(ctx, "index-0")
	if err != nil {
		return 0, err
	}
	at := slices.Index(s.Nodes, leader)
	c := s.client(at + 1)
	path, payload := object("failover", i), noise(4096)
	again := func(context.Context) error {
		_, err := c.do(ask{method: "PUT", path: path, body: payload})
		if err == nil {
			_, err = c.do(ask{method: "GET", path: path, want: payload})
		}
		return err
	}
	if err := again(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := leader.Kill(); err != nil {
		return 0, err
	}
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := rig.Await(within, "a new leader", again); err != nil {
		return 0, errors.Join(err, c.close())
	}
	took := time.Since(begin)
	if err := errors.Join(c.close(), leader.Start()); err != nil {
		return 0, err
	}
	s.servers[at] = leader.Proc()
	return took, s.Ready(within)
}
