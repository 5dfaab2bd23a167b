package fsm

var blobGolden = []Command{
	&SettleOwed{Settled: []Settled{{Blob: BlobID{1, 2, 3}, Shard: 2, Node: "n-node3"}}},
	&SweepGarbage{Blobs: []BlobID{{1, 2, 3}}},
}
