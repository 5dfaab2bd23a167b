package discover

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"hive/fsm"
)

func TestAMemberIsFoundByMulticast(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	// Other clusters may be on this machine.
	self := Found{Cluster: fsm.ClusterID(fmt.Sprintf("c-%08x", rand.Uint32())), Node: "n-node1", Region: "ap-southeast-2", Addr: "127.0.0.1:8443"}
	go func() { done <- Announce(ctx, self, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		found, tried, err := Find(ctx, Query{Timeout: 500 * time.Millisecond})
		if err == nil && slices.Contains(found, self) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("found %v on %v: %v", found, tried, err)
		}
	}
}

func TestAnInterfaceThatIsNotThereIsNamed(t *testing.T) {
	if _, _, err := Find(t.Context(), Query{Interface: "nosuch0"}); err == nil {
		t.Error("no error")
	}
}

func TestTheChosenInterfaceIsTheOnlyOneAsked(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	_, tried, err := Find(t.Context(), Query{Interface: all[0].Name, Timeout: 100 * time.Millisecond})
	if err != nil || len(tried) != 1 || tried[0] != all[0].Name {
		t.Errorf("%v %v", tried, err)
	}
}
