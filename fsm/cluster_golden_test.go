package fsm

var (
	goldenSettings = Settings{Epoch: 7, Bundle: []byte(`{"epoch":7}`)}
	goldenMember   = Member{
		ID: "n-node2", Addr: "10.0.0.2:8443", Gossip: "10.0.0.2:7946", Zone: "ap-southeast-2b",
		Caps: []string{"api", "s3"}, Version: "0.1.0", Joined: 1_700_000_000, KeyHash: []byte{1, 2, 3},
		Acked: 6, Suffrage: SuffrageNonvoter,
	}
	goldenToken = Token{
		ID: "t-1", Hash: []byte{4, 5, 6}, Created: 1_700_000_000, Expires: 1_700_086_400, UsesLeft: 2,
		Caps: []string{"s3"}, Revoked: true,
	}
	goldenCluster = Cluster{
		ID: "c-12345678", Region: "ap-southeast-2", TargetSize: 3, CA: []byte("ca"), CAKey: []byte("sealed ca key"),
		SigningKey: []byte("signing key"), SigningPrivate: []byte("sealed seed"), GossipKey: []byte("sealed gossip key"),
		IndexGroups: 1, Partitions: 1024, Created: 1_700_000_000, Formed: true, Settings: goldenSettings,
	}
)

var clusterGolden = []Command{
	&InitCluster{Cluster: goldenCluster, Member: goldenMember, Token: goldenToken},
	&AdmitMember{Member: goldenMember, TokenID: "t-1", Now: 1_700_000_100, Settings: goldenSettings},
	&UpdateMember{Member: goldenMember, Settings: goldenSettings},
	&RemoveMember{Node: "n-node2", Settings: goldenSettings},
	&AckEpoch{Node: "n-node2", Epoch: 7},
	&CreateToken{Token: goldenToken},
	&RevokeToken{ID: "t-1"},
	&ChangeSettings{Settings: goldenSettings},
}
