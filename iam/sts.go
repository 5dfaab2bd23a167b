package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

// STS answers the operations of STS.
type STS struct{}

// GetCallerIdentity says who the caller is. It needs no permission, and no state: the signature told.
func (STS) GetCallerIdentity(_ context.Context, c *principal.Caller, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{
		Account: aws.String(c.Account), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID),
	}, nil
}

// Access is what an operation of STS needs to be permitted: nothing for GetCallerIdentity, which AWS
// does not let anyone be denied.
func (STS) Access(_ *principal.Caller, op string, _ any) []protocol.Access {
	if op == "GetCallerIdentity" {
		return nil
	}
	return []protocol.Access{{Action: "sts:" + op, Resource: "*"}}
}
