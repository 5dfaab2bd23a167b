package fsm

var goldenOIDC = OIDCProvider{
	Account: "123456789012", URL: "id.example.com/tenant", Created: 1_700_000_000, Clients: []string{"sts.amazonaws.com"},
	Thumbprints: []string{"c3768084dfb3d2b68b7897bf5f565da8efexample"}, Tags: []Tag{{Key: "team", Value: "blue"}},
	Keys: `{"keys":[]}`, KeysAt: 1_700_000_001,
}

var (
	goldenYes    = true
	goldenDevice = MFADevice{
		Account: "123456789012", Name: "phone", Path: "/staff/", Created: 1_700_000_000, Seed: []byte{1, 2, 3}, User: "AIDAIOSFODNN7EXAMPLE1",
		Enabled: 1_700_000_001, Step: 56_666_666, Skew: -1, Tags: []Tag{{Key: "team", Value: "blue"}},
	}
)

var recordsGolden = []Command{
	&CreateOIDCProvider{Provider: goldenOIDC},
	&UpdateOIDCProvider{Provider: goldenOIDC},
	&DeleteOIDCProvider{Account: "123456789012", URL: "id.example.com/tenant"},
	&PutProviderKeys{Account: "123456789012", URL: "id.example.com/tenant", Keys: `{"keys":[]}`, At: 1_700_000_001},
	&PutLoginProfile{
		Profile: LoginProfile{
			Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", Hash: []byte{1, 2}, Created: 1_700_000_000, Changed: 1_700_000_001,
			ResetRequired: true, Previous: [][]byte{{3, 4}},
		},
		Make: true,
	},
	&DeleteLoginProfile{Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1"},
	&SetAccountAlias{Account: "123456789012", Alias: "example-corp", Take: true},
	&SetPasswordPolicy{Account: "123456789012", Policy: &PasswordPolicy{
		MinLength: 14, Symbols: true, Numbers: true, Uppercase: true, Lowercase: true, AllowChange: true, MaxAge: 90, Reuse: 5, HardExpiry: &goldenYes,
	}},
	&CreateMFADevice{Device: goldenDevice},
	&UpdateMFADevice{Device: goldenDevice},
	&DeleteMFADevice{Account: "123456789012", Serial: "arn:aws:iam::123456789012:mfa/staff/phone"},
	&PutJob{Job: Job{Account: "123456789012", Type: CredentialReport, ID: "credential-report", Created: 1_700_000_000, Result: []byte{1}}},
	&CreateCredential{Credential: UserCredential{
		Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", Type: SSHPublicKey, ID: "APKAIOSFODNN7EXAMPLE1", Created: 1_700_000_000, Inactive: true,
		Body: "ssh-ed25519 AAAA", Fingerprint: "ab:cd", Name: "alice-at-123456789012", Secret: []byte{1}, Expires: 1_800_000_000,
	}},
	&UpdateCredential{
		Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", Type: SSHPublicKey, ID: "APKAIOSFODNN7EXAMPLE1", Inactive: true, Secret: []byte{1},
	},
	&DeleteCredential{Account: "123456789012", User: "AIDAIOSFODNN7EXAMPLE1", Type: SSHPublicKey, ID: "APKAIOSFODNN7EXAMPLE1"},
	&CreateServerCertificate{Certificate: ServerCertificate{
		Account: "123456789012", ID: "ASCAIOSFODNN7EXAMPLE1", Name: "www", Path: "/web/", Created: 1_700_000_000, Expires: 1_800_000_000,
		Body: "-----BEGIN CERTIFICATE-----", Chain: "-----BEGIN CERTIFICATE-----", Key: []byte{1}, Tags: []Tag{{Key: "team", Value: "blue"}},
	}},
	&UpdateServerCertificate{
		Account: "123456789012", Name: "www", Rev: 7, NewName: "web", NewPath: "/", Tags: []Tag{{Key: "team", Value: "blue"}},
	},
	&DeleteServerCertificate{Account: "123456789012", Name: "www"},
	&PutSAMLProvider{
		Provider: SAMLProvider{
			Account: "123456789012", Name: "corp", Created: 1_700_000_000, ValidUntil: 1_800_000_000, Metadata: "<EntityDescriptor/>",
			UUID: "ABCDEF", Encryption: "Required", Keys: []SAMLKey{{ID: "KEY1", Added: 1_700_000_000, Secret: []byte{1}}},
			Tags: []Tag{{Key: "team", Value: "blue"}},
		},
		Make: true,
	},
	&DeleteSAMLProvider{Account: "123456789012", Name: "corp"},
}
