package node_test

import (
	"os"
	"path/filepath"
	"testing"

	"hive/internal/admin"
	"hive/internal/testcluster"
)

func TestThreeNodesFormAClusterAndAgree(t *testing.T) {
	c := testcluster.Start(t, 3)
	var bundles []string
	for _, n := range c.Nodes {
		n.Wait("all acknowledged", func(s admin.Status) bool {
			for _, m := range s.Members {
				if m.Epoch < s.Epoch || m.Suffrage != "Voter" {
					return false
				}
			}
			return len(s.Members) == 3
		})
		raw, err := os.ReadFile(filepath.Join(n.Dir, "cluster.json"))
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, string(raw))
	}
	if bundles[0] != bundles[1] || bundles[1] != bundles[2] {
		t.Errorf("cluster.json differs:\n%s\n%s\n%s", bundles[0], bundles[1], bundles[2])
	}
}
