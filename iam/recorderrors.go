package iam

import (
	"net/http"

	"hive/fsm"
)

// recordRefusals are the refusals about what accounts and users have beside entities and policies. Sources as of refusals.
var recordRefusals = []refusalRow{
	{fsm.ErrNotFound, "oidc-provider", http.StatusNotFound, "NoSuchEntity", "OpenIDConnect Provider not found for arn NAME"},
	{fsm.ErrNotFound, "saml-provider", http.StatusNotFound, "NoSuchEntity", "SAMLProvider not found for arn NAME"},
	{fsm.ErrNotFound, "server-certificate", http.StatusNotFound, "NoSuchEntity", "The Server Certificate with name NAME cannot be found."},
	{fsm.ErrNotFound, "login-profile", http.StatusNotFound, "NoSuchEntity", "Login Profile for User NAME cannot be found."},
	{fsm.ErrNotFound, "account-alias", http.StatusNotFound, "NoSuchEntity", "The account alias NAME cannot be found."},
	{fsm.ErrNotFound, "password-policy", http.StatusNotFound, "NoSuchEntity", "The Password Policy with domain name NAME cannot be found."},
	{fsm.ErrNotFound, "mfa", http.StatusNotFound, "NoSuchEntity", "VirtualMFADevice with serial number NAME doesn't exist."},
	{fsm.ErrNotFound, "user-mfa", http.StatusNotFound, "NoSuchEntity", "MFA Device invalid for user."},
	{fsm.ErrNotFound, string(fsm.SSHPublicKey), http.StatusNotFound, "NoSuchEntity", "The Public Key with id NAME cannot be found."},
	{fsm.ErrNotFound, string(fsm.SigningCertificate), http.StatusNotFound, "NoSuchEntity", "The Certificate with id NAME cannot be found."},
	{fsm.ErrNotFound, string(fsm.ServiceSpecific), http.StatusNotFound, "NoSuchEntity", "The Service Specific Credential with id NAME cannot be found."},
	{fsm.ErrNotFound, "deletion-task", http.StatusNotFound, "NoSuchEntity", "The deletion task NAME cannot be found."},
	{fsm.ErrNotFound, "access-job", http.StatusNotFound, "NoSuchEntity", "Job NAME cannot be found."},

	{fsm.ErrExists, "oidc-provider", http.StatusConflict, "EntityAlreadyExists", "Provider with url NAME already exists."},
	{fsm.ErrExists, "saml-provider", http.StatusConflict, "EntityAlreadyExists", "SAMLProvider NAME already exists."},
	{fsm.ErrExists, "server-certificate", http.StatusConflict, "EntityAlreadyExists", "The Server Certificate with name NAME already exists."},
	{fsm.ErrExists, "login-profile", http.StatusConflict, "EntityAlreadyExists", "Login Profile for user NAME already exists."},
	{fsm.ErrExists, "account-alias", http.StatusConflict, "EntityAlreadyExists", "The account alias NAME already exists."},
	{fsm.ErrExists, "mfa", http.StatusConflict, "EntityAlreadyExists", "MFADevice entity at the same path and name already exists."},
	{fsm.ErrExists, "enabled-mfa", http.StatusConflict, "EntityAlreadyExists", "MFA Device NAME is already in use."},
	{fsm.ErrExists, string(fsm.SSHPublicKey), http.StatusBadRequest, "DuplicateSSHPublicKey", "The SSH public key is already associated with the specified IAM user."},
	{fsm.ErrExists, string(fsm.SigningCertificate), http.StatusConflict, "DuplicateCertificate", "The same certificate is associated with an IAM user in the account."},

	{fsm.ErrInUse, "login-profile", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete login profile first."},
	{fsm.ErrInUse, "mfa-devices", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete MFA device first."},
	{fsm.ErrInUse, string(fsm.SSHPublicKey) + "s", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete public keys first."},
	{fsm.ErrInUse, string(fsm.SigningCertificate) + "s", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete signing certificates first."},
	{fsm.ErrInUse, string(fsm.ServiceSpecific) + "s", http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete service specific credentials first."},
	{fsm.ErrInUse, "mfa", http.StatusConflict, "DeleteConflict", "MFA VirtualDevice in use. Must deactivate first."},

	{fsm.ErrConflict, "", http.StatusConflict, "ConcurrentModification", "The request was rejected because multiple requests to change this object were submitted simultaneously. Wait a few minutes and submit your request again."},
}
