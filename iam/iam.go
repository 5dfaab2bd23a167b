// Package iam is who may do what: accounts, users, their keys and policies, the IAM and STS operations on
// them, the secrets that signatures are proved with, and the decision whether a request is allowed.
//
// It keeps no fact of its own: everything is read from the control group's state and proposed to it.
// It never writes a secret anywhere but sealed into a record and once into the answer of CreateAccessKey,
// and never proves a signature: that is awsd's.
package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"hive/fsm"
	"hive/iam/principal"
)

// Group is what this package needs of the control group.
type Group interface {
	// Propose returns once the command is applied here, with its Check's error if it was refused.
	Propose(ctx context.Context, cmd fsm.Command) error
	// ReadIndex returns once View sees every write acknowledged before the call, on any node.
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
}

// Sealer keeps the secrets in records unreadable; context names the record.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Config is what a Service needs.
type Config struct {
	Group  Group
	Sealer Sealer
	Clock  func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
}

// Service answers the operations of IAM: one method for each.
type Service struct {
	cfg Config

	mu sync.Mutex // guards cfg.Rand, which need not be safe for concurrent use

	tries codeTries
}

// New is a Service.
func New(cfg Config) *Service {
	cfg.Group = patient{cfg.Group}
	return &Service{cfg: cfg}
}

// read runs fn on a View that sees every write acknowledged before, on any node.
func (s *Service) read(ctx context.Context, fn func(*fsm.View) error) error {
	if err := s.cfg.Group.ReadIndex(ctx); err != nil {
		return fmt.Errorf("read IAM: %w", err)
	}
	return refusal(s.cfg.Group.View(fn), "")
}

// propose records a decision of caller about the user of that name ("" for the root user) and turns a
// refusal into AWS's error.
func (s *Service) propose(ctx context.Context, c *principal.Caller, cmd fsm.Command, name string) error {
	if err := s.cfg.Group.Propose(ctx, cmd); err != nil {
		return refusal(err, name)
	}
	s.cfg.Log.InfoContext(ctx, "IAM changed", "change", fmt.Sprintf("%T", cmd), "account", c.Account, "user", name, "by", c.ARN)
	return nil
}

// maxTries bounds how often a decision on a record that changes meanwhile is made again.
const maxTries = 8

// newID draws an id: the prefix and n characters of base32.
func (s *Service) newID(prefix string, n int) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return drawID(s.cfg.Rand, prefix, n)
}

func (s *Service) newSecret() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return drawSecret(s.cfg.Rand)
}

// Lengths of the random part of ids, as in AWS.
const (
	entityIDLength = 17
	keyIDLength    = 16
)

func drawID(random io.Reader, prefix string, n int) (string, error) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	raw := make([]byte, n)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	for i, b := range raw {
		raw[i] = alphabet[b%32]
	}
	return prefix + string(raw), nil
}

// drawSecret draws 240 bits as 40 characters, the form of AWS's secret access keys.
func drawSecret(random io.Reader) (string, error) {
	raw := make([]byte, 30)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("draw a secret: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func rootARN(account string) string { return "arn:aws:iam::" + account + ":root" }
