package fsm

var accountGolden = []Command{
	&UpdateAccount{Account: Account{ID: "123456789012", Name: "main", Created: 1_700_000_000, Suspended: true, EventKeys: 2}},
	&SetQuota{Account: "123456789012", Name: QuotaVCPUs, Limit: 64},
	&DeleteAccount{ID: "123456789012", Entities: true},
	&RecordAudit{Events: []AuditEvent{{
		Account: "123456789012", ID: "3c5a7c2e-0000-4000-8000-000000000001", Time: 1_700_000_000_000, RequestID: "r",
		Source: "iam.amazonaws.com", Name: "CreateUser", Principal: "arn:aws:iam::123456789012:root", Type: "Root",
		PrincipalID: "123456789012", UserName: "alice", Issuer: "arn:aws:iam::123456789012:role/r", AccessKey: "AKIAIOSFODNN7EXAMPLE",
		MFA: true, SourceIP: "192.0.2.1", UserAgent: "aws-cli", Node: "n-a", Index: 7, Code: "NoSuchEntity", Message: "not there",
		Parameters: []byte("{}"), Response: []byte("{}"), Resources: []AuditTarget{{Type: "AWS::IAM::User", Name: "alice"}},
	}}},
	&PruneAudit{Account: "123456789012", Before: 1_700_000_000_000, Keep: 1000},
	&RecordLeader{Group: "index-0", Node: "n-a", Term: 3},
}
