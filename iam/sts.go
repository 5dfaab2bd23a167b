package iam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
	"hive/iam/session"
)

// Actions of STS that a role's trust policy is asked for, beside the caller's policies.
const (
	actionAssumeRole      = "sts:AssumeRole"
	actionAssumeWithToken = "sts:AssumeRoleWithWebIdentity"
	actionTagSession      = "sts:TagSession"
	actionSetSource       = "sts:SetSourceIdentity"
)

// STSConfig is what STS needs.
type STSConfig struct {
	Group      Group
	Sealer     Sealer
	Authorizer *Authorizer
	// MFA proves a code of a user's device, once for each code; user is "" for the root user. Errors: ErrMFA.
	MFA   func(ctx context.Context, account fsm.AccountID, user fsm.EntityID, serial, code string) error
	Clock func() time.Time
	Rand  io.Reader
	Log   *slog.Logger
}

// STS answers the operations of STS. What it issues is in the tokens that it hands out: it keeps none of it, but for the
// credentials that instances of this node have now.
type STS struct {
	cfg       STSConfig
	codec     *session.Codec
	instances instanceSessions

	mu sync.Mutex // guards cfg.Rand, which need not be safe for concurrent use
}

// NewSTS is an STS.
func NewSTS(cfg STSConfig) *STS {
	cfg.Group = patient{cfg.Group}
	return &STS{cfg: cfg, codec: session.New(cfg.Sealer)}
}

// GetCallerIdentity says who the caller is. It needs no permission, and no state: the signature told.
func (s *STS) GetCallerIdentity(_ context.Context, c *principal.Caller, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{
		Account: aws.String(c.Account), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID),
	}, nil
}

// GetAccessKeyInfo says which account a key belongs to. A temporary key's id tells it; others are looked up.
func (s *STS) GetAccessKeyInfo(ctx context.Context, c *principal.Caller, in *sts.GetAccessKeyInfoInput) (*sts.GetAccessKeyInfoOutput, error) {
	if err := usersSessionMayNot(c, "GetAccessKeyInfo"); err != nil {
		return nil, err
	}
	id, err := validKeyID(in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	if account, ok := session.AccountOf(string(id)); ok {
		return &sts.GetAccessKeyInfoOutput{Account: &account}, nil
	}
	var key fsm.AccessKey
	var ok bool
	err = s.read(ctx, func(v *fsm.View) error {
		key, ok = fsm.AccessKeyByID(v, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalid("Invalid AccessKeyId: %s", id)
	}
	return &sts.GetAccessKeyInfoOutput{Account: aws.String(string(key.Account))}, nil
}

// DecodeAuthorizationMessage shows what an encoded message of a denial says, to the account that it was told to.
// Errors: InvalidAuthorizationMessageException.
func (s *STS) DecodeAuthorizationMessage(_ context.Context, c *principal.Caller, in *sts.DecodeAuthorizationMessageInput) (*sts.DecodeAuthorizationMessageOutput, error) {
	if err := usersSessionMayNot(c, "DecodeAuthorizationMessage"); err != nil {
		return nil, err
	}
	encoded, err := required(in.EncodedMessage, "encodedMessage", maxEncoded)
	if err != nil {
		return nil, err
	}
	text, err := s.cfg.Authorizer.decode(encoded, c.Account)
	if errors.Is(err, errMessage) {
		return nil, protocol.Errorf(http.StatusBadRequest, "InvalidAuthorizationMessageException", "Message is not valid")
	}
	if err != nil {
		return nil, err
	}
	return &sts.DecodeAuthorizationMessageOutput{DecodedMessage: &text}, nil
}

// read runs fn on a View that sees every write acknowledged before, on any node.
func (s *STS) read(ctx context.Context, fn func(*fsm.View) error) error {
	if err := s.cfg.Group.ReadIndex(ctx); err != nil {
		return fmt.Errorf("read IAM: %w", err)
	}
	return s.cfg.Group.View(fn)
}

func accessDenied(format string, args ...any) error {
	return protocol.Errorf(http.StatusForbidden, codeDenied, format, args...)
}

// unauthorized is STS's denial. It tells no reason: whether a role exists is not the caller's to know.
func unauthorized(c *principal.Caller, action, resource string) error {
	return accessDenied("User: %s is not authorized to perform: %s on resource: %s", c.ARN, action, resource)
}

// usersSessionMayNot refuses an operation to the sessions of users, which at STS can assume roles and ask who they are.
func usersSessionMayNot(c *principal.Caller, op string) error {
	if c.Session != nil && c.Session.Kind != principal.RoleSession {
		return accessDenied("Cannot call %s with session credentials", op)
	}
	return nil
}

// sessionsMayNot refuses an operation to all temporary credentials.
func sessionsMayNot(c *principal.Caller, op string) error {
	if c.Session != nil {
		return accessDenied("Cannot call %s with session credentials", op)
	}
	return nil
}

// Lives of sessions in seconds. Source: the reference of each operation.
const (
	minLife          = 900
	maxLife          = 129_600 // of GetSessionToken and GetFederationToken
	maxRoleLife      = 43_200
	defaultUserLife  = 43_200
	defaultRoleLife  = 3_600
	maxRootLife      = 3_600 // more is cut to it
	maxChainLife     = 3_600
	instanceLife     = 6 * time.Hour
	maxTokenCode     = 6
	maxSerial        = 256
	maxSessionName   = 64
	maxSessionPolicy = 2048
	maxPolicyARNs    = 10
)

// life is how long a session is to last, in seconds.
func life(value *int32, fallback, longest int32) (int32, error) {
	if value == nil {
		return fallback, nil
	}
	if *value < minLife {
		return 0, constraint(fmt.Sprintf("'%d'", *value), "durationSeconds", fmt.Sprintf("Member must have value greater than or equal to %d", minLife))
	}
	if *value > longest {
		return 0, constraint(fmt.Sprintf("'%d'", *value), "durationSeconds", fmt.Sprintf("Member must have value less than or equal to %d", longest))
	}
	return *value, nil
}

// userLife is how long a session of the caller itself lasts: the root user's not over an hour.
func userLife(c *principal.Caller, value *int32) (int32, error) {
	seconds, err := life(value, defaultUserLife, maxLife)
	if c.Root {
		seconds = min(seconds, maxRootLife)
	}
	return seconds, err
}

// issued are new credentials, and what answers tell about them.
type issued struct {
	credentials *types.Credentials
	packed      *int32 // percent; nil when there is nothing to pack
	size        *int32 // of the token
	utilization *int32 // percent
}

// issue makes credentials of a session that begins now. least is the token's least size. Errors: PackedPolicyTooLarge.
func (s *STS) issue(account string, sess *principal.Session, seconds int32, least *int32) (*issued, error) {
	percent, err := s.codec.Percent(sess)
	if err == nil && percent > 100 {
		return nil, protocol.Errorf(http.StatusBadRequest, codeTooLarge, "%s", packedTooLarge(sess, percent))
	}
	if err != nil {
		return nil, tooLarge(err)
	}
	out := &issued{}
	if percent > 0 {
		out.packed = aws.Int32(int32(percent))
	}
	s.mu.Lock()
	id, secret, err := session.Draw(account, s.cfg.Rand)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	sess.Issued = s.cfg.Clock().UTC().Truncate(time.Second)
	sess.Expires = sess.Issued.Add(time.Duration(seconds) * time.Second)
	token, err := s.codec.Seal(session.Credentials{Account: account, AccessKey: id, Secret: secret, Session: *sess}, int(aws.ToInt32(least)))
	if err != nil {
		return nil, tooLarge(err)
	}
	out.credentials = &types.Credentials{AccessKeyId: &id, SecretAccessKey: &secret, SessionToken: &token, Expiration: aws.Time(sess.Expires)}
	if least != nil {
		out.size, out.utilization = aws.Int32(int32(len(token))), aws.Int32(int32((len(token)*100+session.MaxToken-1)/session.MaxToken))
	}
	return out, nil
}

const codeTooLarge = "PackedPolicyTooLarge"

// packedTooLarge words what of a session is too large.
func packedTooLarge(sess *principal.Session, percent int) string {
	switch {
	case len(sess.Tags) == 0:
		return fmt.Sprintf("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
	case len(sess.Policies)+len(sess.PolicyARNs) == 0:
		return fmt.Sprintf("Packed size of session tags consumes %d%% of allotted space.", percent)
	}
	return fmt.Sprintf("Packed size of session policies and session tags consumes %d%% of allotted space.", percent)
}

func tooLarge(err error) error {
	if errors.Is(err, session.ErrTooLarge) {
		return protocol.Errorf(http.StatusBadRequest, codeTooLarge, "Serialized token too large for session")
	}
	return err
}

// checkLeast refuses a MinimumSessionTokenSize that no token has.
func checkLeast(least *int32) error {
	if least != nil && *least < 0 {
		return constraint(fmt.Sprintf("'%d'", *least), "minimumSessionTokenSize", "Member must have value greater than or equal to 0")
	}
	if least != nil && *least > session.MaxToken {
		return constraint(fmt.Sprintf("'%d'", *least), "minimumSessionTokenSize", fmt.Sprintf("Member must have value less than or equal to %d", session.MaxToken))
	}
	return nil
}

// UnsignedSTS are the operations of STS that need no signature.
func UnsignedSTS() []string { return []string{"AssumeRoleWithWebIdentity"} }
