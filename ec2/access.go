package ec2

import (
	"hive/awsd/protocol"
	"hive/iam/principal"
)

// Access is what a request needs to be permitted.
func (s *Service) Access(_ *principal.Caller, op string, _ any) []protocol.Access {
	return []protocol.Access{{Action: "ec2:" + op, Resource: "*"}}
}
