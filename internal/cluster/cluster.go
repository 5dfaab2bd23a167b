// Package cluster is how a cluster forms and who belongs to it: certificates, join tokens, the
// signed settings bundle, the exchange between a joiner and a member, and the changes of
// membership. It holds no state of its own: what it decides are commands of the control group.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"hive/fsm"
)

// Capabilities of a node: the services that it runs.
const (
	CapAPI  = "api"  // awsd: the AWS front door for all services on :9999
	CapS3   = "s3"   // keeps shards, answers S3 on :9002
	CapEC2  = "ec2"  // hosts instances, answers EC2 on :9001
	CapEBS  = "ebs"  // keeps volume logs
	CapVPC  = "vpc"  // wires networks
	CapNATS = "nats" // carries events out
)

// AllCaps are what a node has that was not told otherwise.
var AllCaps = []string{CapAPI, CapEC2, CapS3, CapEBS, CapVPC, CapNATS}

// MaxClockSkew is how far a joiner's clock may be off.
const MaxClockSkew = 5 * time.Minute

// Group is what this package needs of the control group.
type Group interface {
	Propose(ctx context.Context, cmd fsm.Command) error
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
	Changed() <-chan struct{}
}

// Sealer keeps secrets in replicated records unreadable: the context names the record.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Contexts of what the cluster's record seals.
const (
	sealCAKey   = "cluster/ca-key"
	sealSigning = "cluster/signing-key"
	sealGossip  = "cluster/gossip-key"
)

// ErrBadInput is a value that an operator gave and that cannot be.
var ErrBadInput = errors.New("bad input")

var (
	nodeName   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`)
)

// NodeID is the id of the node with the given name.
func NodeID(name string) (fsm.NodeID, error) {
	if !nodeName.MatchString(name) {
		return "", fmt.Errorf("%w: node name %q: use 1 to 63 of a-z, 0-9 and -", ErrBadInput, name)
	}
	return fsm.NodeID("n-" + name), nil
}

// CheckPlace refuses a region or zone that AWS clients would not accept.
func CheckPlace(region, zone string) error {
	if !regionName.MatchString(region) {
		return fmt.Errorf("%w: region %q: it looks like ap-southeast-2", ErrBadInput, region)
	}
	letter := strings.TrimPrefix(zone, region)
	if letter == zone || len(letter) != 1 || letter[0] < 'a' || letter[0] > 'z' {
		return fmt.Errorf("%w: availability zone %q: it is the region and a letter, such as %sa", ErrBadInput, zone, region)
	}
	return nil
}

// CheckCaps refuses a capability that there is not. None means all.
func CheckCaps(caps []string) ([]string, error) {
	if len(caps) == 0 {
		return slices.Clone(AllCaps), nil
	}
	out := slices.Clone(caps)
	slices.Sort(out)
	for _, c := range out {
		if !slices.Contains(AllCaps, c) {
			return nil, fmt.Errorf("%w: capability %q: there are %s", ErrBadInput, c, strings.Join(AllCaps, ", "))
		}
	}
	return slices.Compact(out), nil
}
