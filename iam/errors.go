package iam

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hive/awsd/protocol"
	"hive/fsm"
)

// Causes that Keys and Bootstrap give.
var (
	// ErrNoSuchKey is an access key id that no account has.
	ErrNoSuchKey = errors.New("no such access key")
	// ErrInactiveKey is an access key that was switched off.
	ErrInactiveKey = errors.New("access key is inactive")
	// ErrBadInput is an account id or access key that an operator gave and that cannot be.
	ErrBadInput = errors.New("cannot be used")
)

// refusalRow says what AWS calls a refusal of the state machine: a cause and a resource "kind/name".
type refusalRow struct {
	cause   error
	kind    string // "" for any
	status  int
	code    string
	message string // NAME stands for the name
}

// refusals are those about accounts, entities and policies. Source: the errors of each action in the IAM API reference; the
// messages are AWS's.
var refusals = []refusalRow{
	{fsm.ErrNotFound, "user", http.StatusNotFound, "NoSuchEntity", "The user with name NAME cannot be found."},
	{fsm.ErrNotFound, "group", http.StatusNotFound, "NoSuchEntity", "The group with name NAME cannot be found."},
	{fsm.ErrNotFound, "role", http.StatusNotFound, "NoSuchEntity", "The role with name NAME cannot be found."},
	{fsm.ErrNotFound, "instance-profile", http.StatusNotFound, "NoSuchEntity", "Instance Profile NAME cannot be found."},
	{fsm.ErrNotFound, "profile-role", http.StatusNotFound, "NoSuchEntity", "NAME cannot be found."},
	{fsm.ErrNotFound, "access-key", http.StatusNotFound, "NoSuchEntity", "The Access Key with id NAME cannot be found."},
	{fsm.ErrNotFound, "user-policy", http.StatusNotFound, "NoSuchEntity", "The user policy with name NAME cannot be found."},
	{fsm.ErrNotFound, "group-policy", http.StatusNotFound, "NoSuchEntity", "The group policy with name NAME cannot be found."},
	{fsm.ErrNotFound, "role-policy", http.StatusNotFound, "NoSuchEntity", "The role policy with name NAME cannot be found."},
	{fsm.ErrNotFound, "attachment", http.StatusNotFound, "NoSuchEntity", "Policy NAME was not found."},
	{fsm.ErrNotFound, "attachable", http.StatusNotFound, "NoSuchEntity", "Policy NAME does not exist or is not attachable."},
	{fsm.ErrNotFound, "boundary", http.StatusNotFound, "NoSuchEntity", "Scope ARN: NAME does not exist or is not attachable."},
	{fsm.ErrNotFound, "policy", http.StatusNotFound, "NoSuchEntity", "Policy NAME was not found."},
	{fsm.ErrNotFound, "policy-version", http.StatusNotFound, "NoSuchEntity", "Policy NAME does not exist or is not attachable."},
	{fsm.ErrNotFound, "account", http.StatusNotFound, "NoSuchEntity", "The account NAME cannot be found."},
	{fsm.ErrExists, "user", http.StatusConflict, "EntityAlreadyExists", "User with name NAME already exists."},
	{fsm.ErrExists, "group", http.StatusConflict, "EntityAlreadyExists", "Group with name NAME already exists."},
	{fsm.ErrExists, "role", http.StatusConflict, "EntityAlreadyExists", "Role with name NAME already exists."},
	{fsm.ErrExists, "instance-profile", http.StatusConflict, "EntityAlreadyExists", "Instance Profile NAME already exists."},
	{fsm.ErrExists, "policy", http.StatusConflict, "EntityAlreadyExists", "A policy called NAME already exists. Duplicate names are not allowed."},
	{fsm.ErrExists, "access-key", http.StatusConflict, "EntityAlreadyExists", "Access Key with id NAME already exists."},
	{fsm.ErrLimit, "quota", http.StatusConflict, "LimitExceeded", "Cannot exceed quota for NAME"},
	{fsm.ErrLimit, "policy-size", http.StatusConflict, "LimitExceeded", "Maximum policy size of NAME"},
	{fsm.ErrLimit, "policy-versions", http.StatusConflict, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version."},
	{fsm.ErrInUse, "access-keys", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete access keys first."},
	{fsm.ErrInUse, "memberships", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must remove users from group first."},
	{fsm.ErrInUse, "profile-roles", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first."},
	{fsm.ErrInUse, "inline-policies", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete policies first."},
	{fsm.ErrInUse, "attachments", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must detach all policies first."},
	{fsm.ErrInUse, "policy-use", http.StatusConflict, "DeleteConflict", "Cannot delete a policy attached to entities."},
	{fsm.ErrInUse, "policy-versions", http.StatusConflict, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy."},
	{fsm.ErrInUse, "policy-default", http.StatusConflict, "DeleteConflict", "Cannot delete the default version of a policy."},
	{fsm.ErrInvalid, "", http.StatusBadRequest, codeValidation, "The specified value is invalid: NAME"},
}

const codeValidation = "ValidationError"

// refusal is err in AWS's words where the table has them, and err itself where it is no refusal.
// userName, if any, is what the request called the user: records name it by id.
func refusal(err error, userName string) error {
	var refused *fsm.Error
	if !errors.As(err, &refused) {
		return err
	}
	kind, name, _ := strings.Cut(refused.Resource, "/")
	if kind == "user" && userName != "" {
		name = userName
	}
	for _, row := range slices.Concat(refusals, recordRefusals) {
		if errors.Is(err, row.cause) && (row.kind == kind || row.kind == "") {
			return protocol.Errorf(row.status, row.code, "%s", strings.ReplaceAll(row.message, "NAME", name))
		}
	}
	return fmt.Errorf("IAM has no words for this refusal: %w", err)
}

func invalid(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, codeValidation, format, args...)
}

func invalidInput(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "InvalidInput", format, args...)
}

func malformedPolicy(message string) error {
	return protocol.Errorf(http.StatusBadRequest, "MalformedPolicyDocument", "%s", message)
}
