package imds

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"hive/fsm"
)

// Credentials are what an instance gets for the role of its instance profile.
type Credentials struct {
	Refused         string // why the role cannot be assumed; the rest but Updated is then empty
	AccessKeyID     string
	SecretAccessKey string
	Token           string
	Updated         time.Time
	Expires         time.Time
}

// credentialsPath is above the name of an instance's role.
const credentialsPath = "meta-data/iam/security-credentials/"

// addRole adds what an instance with an instance profile is told of it. Credentials are made only when it is they that
// are asked for.
func (s *Server) addRole(ctx context.Context, t tree, i Instance, below string) error {
	if s.cfg.Credentials == nil || i.Instance.Profile == "" {
		return nil
	}
	now := s.cfg.Clock()
	if i.InstanceProfile.ID == "" {
		t["meta-data/iam/info"] = fields("Code", "InstanceProfileNotFound",
			"Message", "Instance Profile with ID "+string(i.Instance.Profile)+" cannot be found.", "LastUpdated", stamp(now))
		return nil
	}
	t["meta-data/iam/info"] = fields("Code", "Success", "LastUpdated", stamp(now),
		"InstanceProfileArn", i.InstanceProfile.ARN(), "InstanceProfileId", string(i.InstanceProfile.ID))
	if i.Role.ID == "" {
		return nil
	}
	leaf := credentialsPath + i.Role.Name
	t[leaf] = ""
	if strings.Trim(below, "/") != leaf {
		return nil
	}
	c, err := s.cfg.Credentials(ctx, i.Instance)
	switch {
	case err != nil:
		return err
	case c.Refused != "":
		t[leaf] = fields("Code", "AssumeRoleUnauthorizedAccess", "Message", c.Refused, "LastUpdated", stamp(c.Updated))
	default:
		t[leaf] = fields("Code", "Success", "LastUpdated", stamp(c.Updated), "Type", "AWS-HMAC", "AccessKeyId", c.AccessKeyID,
			"SecretAccessKey", c.SecretAccessKey, "Token", c.Token, "Expiration", stamp(c.Expires))
	}
	return nil
}

// findRole fills in the profile and the role of an instance, where they are still there.
func findRole(v *fsm.View, i *Instance) {
	if i.Instance.Profile == "" {
		return
	}
	i.InstanceProfile, _ = fsm.InstanceProfileByID(v, i.Account, i.Instance.Profile)
	i.Role, _ = fsm.RoleByID(v, i.Account, i.InstanceProfile.Role)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// fields is a JSON object of names and values in the form that AWS's metadata have.
func fields(pairs ...string) string {
	var b strings.Builder
	b.WriteString("{\n")
	for n := 0; n < len(pairs); n += 2 {
		value, err := json.Marshal(pairs[n+1])
		if err != nil {
			value = []byte(`""`) // a string always has a form
		}
		b.WriteString(`  "` + pairs[n] + `" : ` + string(value))
		if n+2 < len(pairs) {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("}")
	return b.String()
}
