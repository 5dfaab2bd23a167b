// Package principal names who sent a request. It is a leaf: it decides nothing, looks nothing up and
// imports nothing of Hive, so that every room may speak of a caller without knowing how one is proved.
package principal

// Caller is who sent a request and how, established by awsd before any handler runs.
type Caller struct {
	Account   string // 12 digits; "" when anonymous
	ARN       string // arn:aws:iam::123456789012:user/x, arn:aws:iam::123456789012:root
	UserID    string // AIDA…; the account id for root
	UserName  string // "" for root
	AccessKey string // AKIA…
	Root      bool
	Anonymous bool
	SourceIP  string
	Secure    bool
	UserAgent string
	RequestID string
	Region    string
}
