package fsm

var bucketGolden = []Command{
	&CreateBucket{Name: "bucket", Owner: "123456789012", Region: "ap-southeast-2", Created: 1_700_000_000_123},
	&BeginDeleteBucket{Name: "bucket", Rev: 7},
	&ReopenBucket{Name: "bucket", Rev: 8},
	&RemoveBucket{Name: "bucket", Rev: 9},
	&OpenGate{Name: "bucket", Owner: "123456789012", Born: 5, Seq: 7},
	&SealGate{Name: "bucket", Owner: "123456789012", Born: 5, Seq: 8},
	&RemoveGate{Name: "bucket", Seq: 8},
}

func goldenRef() *BlobRef { return &BlobRef{ID: BlobID{1, 2, 3}, Partition: 4, K: 2, M: 1, Size: 5} }

var goldenOwed = []Owed{{Shard: 2, Node: "n-node3", Keepers: []NodeID{"n-node1", "n-node2"}}}

var goldenHeaders = ObjectHeaders{
	ContentType: "text/plain", CacheControl: "no-cache", ContentDisposition: "inline",
	ContentEncoding: "gzip", ContentLanguage: "mi", Expires: 1_700_000_000, Redirect: "/other",
	UserMeta: map[string]string{"colour": "red"}, Tags: map[string]string{"team": "blue"},
}

var goldenSum = Checksum{Alg: 1, Sum: []byte{9, 8, 7, 6}, Composite: true}

var goldenObject = Object{
	ObjectHead:    ObjectHead{Size: 5, Modified: 1_700_000_000_123, MD5: []byte{1, 2, 3}, Parts: 2, Sum: goldenSum},
	ObjectHeaders: goldenHeaders, Blob: goldenRef(), Upload: "upload",
}

var objectGolden = []Command{
	&PutObject{
		Bucket: "bucket", Born: 5, Key: "a/b", Object: goldenObject, Owed: goldenOwed,
		Precondition: Precondition{Absent: true, ETag: "aa"},
	},
	&DeleteObjects{
		Bucket: "bucket", Born: 5, Keys: []string{"a", "b"}, Now: 1_700_000_000_124,
		Precondition: Precondition{Absent: true, ETag: "aa"},
	},
	&SetObjectTags{Bucket: "bucket", Born: 5, Key: "a/b", Tags: map[string]string{"k": "v"}},
	&CreateUpload{Bucket: "bucket", Born: 5, Key: "a/b", ID: "upload", Upload: Upload{
		ObjectHeaders: goldenHeaders, Initiated: 1_700_000_000_123,
		Initiator: "arn:aws:iam::123456789012:user/x", Sum: goldenSum,
	}},
	&PutPart{Bucket: "bucket", Key: "a/b", ID: "upload", Number: 3, Owed: goldenOwed, Part: Part{
		Size: 5, Modified: 1_700_000_000_123, MD5: []byte{1, 2, 3}, Sum: goldenSum, Blob: goldenRef(),
	}},
	&CompleteUpload{
		Bucket: "bucket", Key: "a/b", ID: "upload", Parts: []PartChoice{{Number: 3, Rev: 77}},
		Object: goldenObject, Precondition: Precondition{Absent: true, ETag: "aa"},
	},
	&AbortUpload{Bucket: "bucket", Key: "a/b", ID: "upload", Now: 1_700_000_000_124},
}
