package fsm

var goldenOIDC = OIDCProvider{
	Account: "123456789012", URL: "id.example.com/tenant", Created: 1_700_000_000, Clients: []string{"sts.amazonaws.com"},
	Thumbprints: []string{"c3768084dfb3d2b68b7897bf5f565da8efexample"}, Tags: []Tag{{Key: "team", Value: "blue"}},
	Keys: `{"keys":[]}`, KeysAt: 1_700_000_001,
}

var recordsGolden = []Command{
	&CreateOIDCProvider{Provider: goldenOIDC},
	&UpdateOIDCProvider{Provider: goldenOIDC},
	&DeleteOIDCProvider{Account: "123456789012", URL: "id.example.com/tenant"},
	&PutProviderKeys{Account: "123456789012", URL: "id.example.com/tenant", Keys: `{"keys":[]}`, At: 1_700_000_001},
}
