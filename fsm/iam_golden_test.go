package fsm

var (
	goldenKey = AccessKey{
		Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", ID: "AKIAIOSFODNN7EXAMPLE", Secret: []byte{1, 2, 3},
		Inactive: true, Created: 1_700_000_000,
	}
	goldenUser = User{
		Account: "123456789012", ID: "AIDAIOSFODNN7EXAMPLE1", Name: "Alice", Path: "/staff/", Created: 1_700_000_000,
		Tags: []Tag{{Key: "team", Value: "blue"}}, Boundary: "arn:aws:iam::aws:policy/ReadOnlyAccess",
	}
)

var iamGolden = []Command{
	&CreateAccount{
		Account:  Account{ID: "123456789012", Name: "main", Created: 1_700_000_000, Suspended: true, EventKeys: 2},
		RootKeys: []AccessKey{goldenKey},
	},
	&CreateUser{User: goldenUser},
	&UpdateUser{User: goldenUser},
	&DeleteUser{Account: "123456789012", ID: "AIDAIOSFODNN7EXAMPLE1"},
	&CreateAccessKey{Key: goldenKey},
	&UpdateAccessKey{Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", ID: "AKIAIOSFODNN7EXAMPLE", Inactive: true},
	&DeleteAccessKey{Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", ID: "AKIAIOSFODNN7EXAMPLE"},
	&PutInlinePolicy{
		Account: "123456789012", Owner: "AIDAIOSFODNN7EXAMPLE1",
		Policy: InlinePolicy{Name: "p", Document: `{"Version":"2012-10-17"}`},
	},
	&DeleteInlinePolicy{Account: "123456789012", Owner: "AIDAIOSFODNN7EXAMPLE1", Name: "p"},
	&AttachPolicy{Account: "123456789012", Owner: "AIDAIOSFODNN7EXAMPLE1", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"},
	&DetachPolicy{Account: "123456789012", Owner: "AIDAIOSFODNN7EXAMPLE1", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"},
}
