package fsm

var sessionGolden = []Command{
	&RecordUses{Uses: []Use{{
		Account: goldenAccount, Key: "AKIAIOSFODNN7EXAMPLE", Role: "AROAIOSFODNN7EXAMPLE1",
		Last: LastUsed{Time: 1_700_000_000, Region: "eu-north-1", Service: "s3"},
	}}},
}
