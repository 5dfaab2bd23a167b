package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"hive/internal/admin"
	"hive/test/rig"
)

// Versions of the query APIs that are asked.
var versions = map[string]string{"iam": "2010-05-08", "sts": "2011-06-15", "ec2": "2016-11-15"}

// goalAuth is the issue's: processor time of a request that does nothing but prove who asks, in milliseconds.
const goalAuth = 0.15

// query asks for an action of a query service; params are names and values in turn.
func query(c *client, service, action string, params ...string) ([]byte, error) {
	form := url.Values{"Action": {action}, "Version": {versions[service]}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	return c.do(ask{method: "POST", path: "/", service: service, body: []byte(form.Encode()), form: true})
}

// identities forms a cluster of n, measures IAM, STS and what every request to any service goes through, and prints its
// table. Only a cluster of one is filled with many users.
func (b *bench) identities(ctx context.Context, n int) (err error) {
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return err
	}
	c, err := rig.Form(ctx, rig.Options{Bin: bin, Dir: b.dir, Nodes: n, Place: func(i int) string {
		return filepath.Join(b.dir, fmt.Sprintf("i%dn%d", n, i+1))
	}})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(c.Logs(5)))
		}
		err = errors.Join(err, c.Kill())
	}()
	s := &subject{bench: b, Cluster: c}
	for _, node := range c.Nodes {
		s.servers = append(s.servers, node.Proc())
	}
	steps := []func(context.Context) error{s.proofs, s.tags, s.someUsers}
	if n == 1 {
		steps = append(steps, s.manyUsers)
	}
	for _, step := range steps {
		err = errors.Join(err, step(ctx))
	}
	fmt.Fprintf(b.out, "\n### IAM, cluster of %d\n\n", n)
	printRows(b.out, s.rows, nil, nil)
	for _, note := range s.notes {
		fmt.Fprintf(b.out, "- %s\n", note)
	}
	return err
}

// each measures one kind of request at every concurrency.
func (s *subject) each(ctx context.Context, op string, requests func(c *client, worker, i int) error) error {
	for _, conc := range concurrencies {
		r, err := s.measure(ctx, work{op: op, conc: conc, time: s.cell, requests: requests})
		if err != nil {
			return err
		}
		if op == "GetCallerIdentity" && conc > 1 {
			s.note("a proof of who asks: %.3f ms of processor time, the goal is %.2f", ms(r.cpu), goalAuth)
		}
	}
	return nil
}

// proofs measures signatures and routing alone, of the root user's key and of a session's.
func (s *subject) proofs(ctx context.Context) error {
	err := s.each(ctx, "GetCallerIdentity", func(c *client, _, _ int) error {
		_, err := query(c, "sts", "GetCallerIdentity")
		return err
	})
	one := s.client(0)
	page, sessionErr := query(one, "sts", "GetSessionToken")
	if err := errors.Join(err, sessionErr, one.close()); err != nil {
		return err
	}
	token := element(page, "SessionToken")
	key, secret := element(page, "AccessKeyId"), element(page, "SecretAccessKey")
	return s.each(ctx, "GetCallerIdentity of a session", func(c *client, _, _ int) error {
		c.accessKey, c.secret, c.token = key, secret, token
		_, err := query(c, "sts", "GetCallerIdentity")
		return err
	})
}

// tags measures a describe of EC2 by a user whom a policy allows it: proof, decision, a read, an answer.
func (s *subject) tags(ctx context.Context) error {
	one := s.client(0)
	for i := range 20 {
		if _, err := query(one, "ec2", "CreateKeyPair", "KeyName", fmt.Sprint("key-", i), "KeyType", "ed25519", "TagSpecification.1.ResourceType", "key-pair",
			"TagSpecification.1.Tag.1.Key", "n", "TagSpecification.1.Tag.1.Value", fmt.Sprint(i)); err != nil {
			return err
		}
	}
	key, secret, err := reader(one)
	if err := errors.Join(err, one.close()); err != nil {
		return err
	}
	return s.each(ctx, "DescribeTags of 20", func(c *client, _, _ int) error {
		c.accessKey, c.secret = key, secret
		page, err := query(c, "ec2", "DescribeTags")
		if n := strings.Count(string(page), "<item>"); err == nil && n != 20 {
			err = fmt.Errorf("%d tags", n)
		}
		return err
	})
}

// reader makes a user who may read everything, by a group, and answers its key.
func reader(c *client) (key, secret string, err error) {
	for _, call := range [][]string{
		{"CreateUser", "UserName", "reader"}, {"CreateGroup", "GroupName", "readers"},
		{"AddUserToGroup", "UserName", "reader", "GroupName", "readers"},
		{"AttachGroupPolicy", "GroupName", "readers", "PolicyArn", "arn:aws:iam::aws:policy/ReadOnlyAccess"},
	} {
		if _, err := query(c, "iam", call[0], call[1:]...); err != nil {
			return "", "", err
		}
	}
	page, err := query(c, "iam", "CreateAccessKey", "UserName", "reader")
	return element(page, "AccessKeyId"), element(page, "SecretAccessKey"), err
}

// someUsers measures writes: each is in the logs of a majority, synced, before its answer.
func (s *subject) someUsers(ctx context.Context) error {
	for _, conc := range append(concurrencies, 64) {
		_, err := s.measure(ctx, work{op: "CreateUser", conc: conc, time: s.cell, requests: func(c *client, worker, i int) error {
			_, err := query(c, "iam", "CreateUser", "UserName", fmt.Sprintf("some-%d-%d-%d", conc, worker, i))
			return err
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// manyUsers fills an account and measures looking up and listing in it.
func (s *subject) manyUsers(ctx context.Context) error {
	var made admin.RootKey
	node := s.Nodes[0].Admin()
	if err := node.Do(ctx, http.MethodPost, "/v1/accounts", admin.NewAccount{Name: "many"}, &made); err != nil {
		return err
	}
	change := admin.AccountChange{Quotas: map[string]int64{"users": int64(s.users)}}
	if err := node.Do(ctx, http.MethodPatch, "/v1/accounts/"+string(made.AccountID), change, nil); err != nil {
		return err
	}
	as := func(c *client) *client {
		c.accessKey, c.secret = made.AccessKey, made.Secret
		return c
	}
	before, err := s.Nodes[0].Memory("VmRSS")
	if err != nil {
		return err
	}
	r, err := s.measure(ctx, work{op: "CreateUser, to many", conc: 64, time: s.crowd, max: s.users, requests: func(c *client, _, i int) error {
		_, err := query(as(c), "iam", "CreateUser", "UserName", fmt.Sprintf("user-%06d", i), "Path", fmt.Sprintf("/team-%d/", i%100))
		return err
	}})
	if err != nil {
		return err
	}
	after, err := s.Nodes[0].Memory("VmRSS")
	if err != nil {
		return err
	}
	s.note("%d users in one account after %.0f s; the daemon has %d MiB of memory, %d before", r.ops, r.wall.Seconds(), after>>20, before>>20)
	err = s.each(ctx, fmt.Sprintf("GetUser of %d", r.ops), func(c *client, _, i int) error {
		_, err := query(as(c), "iam", "GetUser", "UserName", fmt.Sprintf("user-%06d", i*7919%r.ops))
		return err
	})
	if err != nil {
		return err
	}
	return s.listUsers(ctx, as, r.ops)
}

// listUsers measures one page, the whole listing by pages of a thousand, and a listing of a hundredth by its path.
func (s *subject) listUsers(ctx context.Context, as func(*client) *client, n int) error {
	err := s.each(ctx, fmt.Sprintf("ListUsers, 100 of %d", n), func(c *client, _, _ int) error {
		_, err := query(as(c), "iam", "ListUsers")
		return err
	})
	if err != nil {
		return err
	}
	for _, of := range []struct {
		what   string
		params []string
	}{{"all", nil}, {"a path's", []string{"PathPrefix", "/team-7/"}}} {
		c := as(s.client(0))
		begin := time.Now()
		seen, err := pages(c, of.params)
		if err := errors.Join(err, c.close()); err != nil {
			return err
		}
		want := n
		if of.params != nil {
			want = (n + 100 - 8) / 100 // those with i%100 == 7
		}
		if seen != want {
			return fmt.Errorf("a listing has %d of %d users", seen, want)
		}
		s.note("%s %d users listed, by pages of 1,000: %.2f s", of.what, seen, time.Since(begin).Seconds())
	}
	return nil
}

// pages reads a listing of users to its end and counts them.
func pages(c *client, params []string) (int, error) {
	seen, marker := 0, ""
	for {
		ask := append([]string{"MaxItems", "1000"}, params...)
		if marker != "" {
			ask = append(ask, "Marker", marker)
		}
		page, err := query(c, "iam", "ListUsers", ask...)
		if err != nil {
			return seen, err
		}
		seen += strings.Count(string(page), "<UserName>")
		if element(page, "IsTruncated") != "true" {
			return seen, nil
		}
		marker = element(page, "Marker")
	}
}
