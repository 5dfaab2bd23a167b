package iam

import (
	"fmt"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// ownPassword tells whether the account's password policy gives a user what no policy of its own allows: to change its own
// password and to read the password policy. What a policy denies, or a boundary or session policies do not let through, stays
// denied. Source: "Permit IAM users to change their own passwords" in the IAM user guide.
func (a *Authorizer) ownPassword(c *principal.Caller, n protocol.Access, d policy.Decision) (bool, error) {
	own := n.Action == "iam:ChangePassword" || n.Action == "iam:GetAccountPasswordPolicy" // which know no password but the caller's
	if !own || c.UserName == "" || d.Effect != policy.ImplicitDeny || d.Cause != policy.IdentityPolicy {
		return false, nil
	}
	allowed := false
	err := a.group.View(func(v *fsm.View) error {
		p := fsm.SettingsOf(v, fsm.AccountID(c.Account)).Password
		allowed = p != nil && p.AllowChange
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("read the password policy: %w", err)
	}
	return allowed, nil
}
