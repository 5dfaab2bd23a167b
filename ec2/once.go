package ec2

import (
	"hive/fsm"
	"hive/iam/principal"
)

// maxClientToken is how long a client token can be.
const maxClientToken = 64

// once is the client token of a request, nil without one. in is the request's input; IDs are to be set by the decision.
func (s *Service) once(c *principal.Caller, op string, token *string, in any) (*fsm.ClientToken, error) {
	if token == nil || *token == "" {
		return nil, nil
	}
	if len(*token) > maxClientToken {
		return nil, invalid("Value (%s) for parameter ClientToken is invalid. It must be at most %d ASCII characters.", *token, maxClientToken)
	}
	for _, r := range *token {
		if r < ' ' || r > '~' {
			return nil, invalid("Value for parameter ClientToken is invalid. It must be at most %d ASCII characters.", maxClientToken)
		}
	}
	hash, err := requestHash(in, "ClientToken", "DryRun")
	if err != nil {
		return nil, err
	}
	return &fsm.ClientToken{Account: account(c), Op: op, Token: *token, Hash: hash, Created: s.now()}, nil
}

// made is what the request of a client token has made before; none when it is new.
func made(v *fsm.View, t *fsm.ClientToken) ([]string, error) {
	if t == nil {
		return nil, nil
	}
	used, ok := fsm.TokenUsed(v, t.Account, t.Op, t.Token)
	switch {
	case !ok:
		return nil, nil
	case !used.Same(t.Hash):
		return nil, bad("IdempotentParameterMismatch",
			"Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
	}
	return used.IDs, nil
}
