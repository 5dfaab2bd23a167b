package fsm

import (
	"fmt"
	"slices"
)

// kinds is the whole table of commands: each room's rows stand in its own file.
// Ranges: 1-99 cluster, 100-149 partitions, 200-299 IAM, accounts, audit and events, 300-349 buckets,
// 400-449 networks, 450-499 instances, 500-549 volumes, 550-599 images, keys, tags, client tokens (group control);
// 1000-1099 objects, 1100-1149 shards owed and garbage, 1150-1199 chunks of volumes (index groups).
var kinds = kindTable(slices.Concat(
	clusterKinds,
	blobKinds,
	partitionKinds,
	iamKinds,
	entityKinds,
	recordKinds,
	sessionKinds,
	bucketKinds,
	gateKinds,
	objectKinds,
	uploadKinds,
	vpcKinds,
	instanceKinds,
	volumeKinds,
	imageKinds,
	tagKinds,
	chunkKinds,
	auditKinds,
	eventKinds,
))

func kindTable(rows []KindEntry) map[Kind]KindEntry {
	out := make(map[Kind]KindEntry, len(rows))
	for _, row := range rows {
		if _, taken := out[row.Kind]; taken || row.New().Kind() != row.Kind {
			panic(fmt.Sprintf("fsm: kind %d stands twice or under another number", row.Kind))
		}
		out[row.Kind] = row
	}
	return out
}
