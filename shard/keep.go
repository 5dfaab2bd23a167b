package shard

import "slices"

// keepers says who keeps the shards whose nodes are away: each missing shard goes to two of the
// others in rotation, so that after the loss of any one more node k shards are left. live are the
// numbers of the shards whose nodes have them, in order. It answers nil where that cannot be had.
func keepers(k, width int, live []int) map[int][]int {
	plan := map[int][]int{}
	if len(live) == 0 {
		return nil
	}
	turn := 0
	for shard := range width {
		if slices.Contains(live, shard) {
			continue
		}
		plan[shard] = []int{live[turn%len(live)]}
		if second := live[(turn+1)%len(live)]; second != plan[shard][0] {
			plan[shard] = append(plan[shard], second)
		}
		turn++
	}
	for _, lost := range live {
		if left(plan, live, lost) < k {
			return nil
		}
	}
	return plan
}

// left is how many different shards are readable after one more node is lost.
func left(plan map[int][]int, live []int, lost int) int {
	n := len(live) - 1
	for _, kept := range plan {
		if slices.ContainsFunc(kept, func(keeper int) bool { return keeper != lost }) {
			n++
		}
	}
	return n
}
