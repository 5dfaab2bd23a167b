package fsm

const (
	goldenAccount = "123456789012"
	goldenARN     = "arn:aws:iam::123456789012:policy/staff/Read"
)

var (
	goldenTags  = []Tag{{Key: "team", Value: "blue"}}
	goldenGroup = IAMGroup{Account: goldenAccount, ID: "AGPAIOSFODNN7EXAMPLE1", Name: "Admins", Path: "/staff/", Created: 1_700_000_000}
	goldenRole  = Role{
		Account: goldenAccount, ID: "AROAIOSFODNN7EXAMPLE1", Name: "Worker", Path: "/staff/", Created: 1_700_000_000,
		Trust: `{"Version":"2012-10-17"}`, MaxSession: 3600, Description: "works", Tags: goldenTags, Boundary: goldenARN,
		ServiceLinked: "autoscaling.amazonaws.com",
		Trusted:       []Trusted{{ARN: "arn:aws:iam::123456789012:user/staff/Alice", ID: "AIDAIOSFODNN7EXAMPLE1"}},
	}
	goldenProfile = InstanceProfile{
		Account: goldenAccount, ID: "AIPAIOSFODNN7EXAMPLE1", Name: "Web", Path: "/staff/", Created: 1_700_000_000,
		Role: "AROAIOSFODNN7EXAMPLE1", Tags: goldenTags,
	}
	goldenPolicy = ManagedPolicy{
		Account: goldenAccount, ID: "ANPAIOSFODNN7EXAMPLE1", Name: "Read", Path: "/staff/", Description: "reads",
		Created: 1_700_000_000, Updated: 1_700_000_001, Default: 1, Versions: 2, Latest: 3, Tags: goldenTags,
	}
)

var entityGolden = []Command{
	&CreateGroup{Group: goldenGroup},
	&UpdateGroup{Group: goldenGroup},
	&DeleteGroup{Account: goldenAccount, ID: goldenGroup.ID},
	&AddUserToGroup{Account: goldenAccount, Group: goldenGroup.ID, User: goldenUser.ID},
	&RemoveUserFromGroup{Account: goldenAccount, Group: goldenGroup.ID, User: goldenUser.ID},
	&CreateRole{Role: goldenRole, Attach: "arn:aws:iam::aws:policy/ReadOnlyAccess"},
	&UpdateRole{Role: goldenRole},
	&DeleteRole{Account: goldenAccount, ID: goldenRole.ID},
	&CreateInstanceProfile{Profile: goldenProfile},
	&UpdateInstanceProfile{Profile: goldenProfile},
	&DeleteInstanceProfile{Account: goldenAccount, ID: goldenProfile.ID},
	&AddRoleToInstanceProfile{Account: goldenAccount, Profile: goldenProfile.ID, Role: goldenRole.ID},
	&RemoveRoleFromInstanceProfile{Account: goldenAccount, Profile: goldenProfile.ID, Role: goldenRole.ID},
	&CreateManagedPolicy{Policy: goldenPolicy, Document: `{"Version":"2012-10-17"}`},
	&UpdateManagedPolicy{Policy: goldenPolicy},
	&DeleteManagedPolicy{Account: goldenAccount, ID: goldenPolicy.ID},
	&CreatePolicyVersion{
		Account: goldenAccount, Policy: goldenPolicy.ID, Default: true,
		Version: PolicyVersion{Number: 4, Document: `{"Version":"2012-10-17"}`, Created: 1_700_000_002},
	},
	&DeletePolicyVersion{Account: goldenAccount, Policy: goldenPolicy.ID, Number: 4},
	&SetDefaultPolicyVersion{Account: goldenAccount, Policy: goldenPolicy.ID, Number: 4},
}
