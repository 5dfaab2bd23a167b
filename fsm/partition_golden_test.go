package fsm

var partitionGolden = []Command{
	&InstallPartitions{K: 2, M: 1, Nodes: []NodeID{"n-node1", "n-node2", "n-node3"}, Rows: []uint16{1, 0, 2, 2, 1, 0}},
	&MovePartitions{Epoch: 4, Moves: []PartitionMove{{Partition: 9, Nodes: []NodeID{"n-node4", "n-node1"}}}},
	&SettlePartitions{Settled: []SettledPartition{{Partition: 9, Epoch: 5}}},
}
