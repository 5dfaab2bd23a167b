package policy

import (
	"slices"
	"strings"
)

// resource is what a statement names in Resource or NotResource.
type resource struct {
	arn  arnPattern
	any  bool // "*"
	text string
}

var partitions = []string{"aws", "aws-cn", "aws-us-gov", "*"}

// iamPaths are what the resource part of IAM's ARNs begins with.
var iamPaths = []string{
	"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/",
	"sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
}

// resource reads one value of Resource or NotResource.
func (d *dialect) resource(s string) (resource, error) {
	if s == "*" {
		return resource{any: true, text: s}, nil
	}
	raw, err := arnParts(s)
	if err != nil {
		return resource{}, err
	}
	if d.kind == Resource && raw[2] != "s3" {
		return resource{}, &MalformedError{"Policy has invalid resource", s}
	}
	if strings.Contains(strings.Join(raw[:5], ""), "${") {
		return resource{}, &MalformedError{legacy, "policy variables are not allowed in this part of resource " + quoted(s)}
	}
	pattern, err := newARNPattern(raw, func(i int) patternSyntax {
		return patternSyntax{wildcards: true, variables: d.variables && i == 5}
	})
	return resource{text: s, arn: pattern}, err
}

// arnParts cuts the ARN of a resource into its six parts. Of a short one the rest is "*".
func arnParts(s string) ([]string, error) {
	raw := strings.SplitN(s, ":", 6)
	given := len(raw)
	if raw[0] != "arn" || given < 2 {
		return nil, &MalformedError{`Resource ` + s + ` must be in ARN format or "*".`, ""}
	}
	for len(raw) < 6 {
		raw = append(raw, "*")
	}
	whole := strings.Join(raw, ":")
	switch {
	case !slices.Contains(partitions, raw[1]):
		return nil, &MalformedError{`Partition "` + raw[1] + `" is not valid for resource "` + whole + `".`, ""}
	case raw[2] == "", raw[2] == "s3" && given == 5:
		return nil, &MalformedError{legacy, "resource " + quoted(s)}
	case strings.ContainsAny(raw[2], "*?$"):
		return nil, &MalformedError{"Resource vendor must be fully qualified and cannot contain regexes.", s}
	case raw[2] == "iam" && raw[3] != "" && raw[3] != "*":
		return nil, &MalformedError{"IAM resource " + s + " cannot contain region information.", ""}
	case raw[2] == "iam" && raw[5] != "*" && !slices.ContainsFunc(iamPaths, func(p string) bool { return strings.HasPrefix(raw[5], p) }):
		return nil, &MalformedError{`IAM resource path must either be "*" or start with ` + strings.Join(iamPaths, ", ") + ".", s}
	case raw[2] == "s3" && raw[3] != "" && raw[3] != "*" && !strings.HasPrefix(raw[5], "accesspoint"):
		return nil, &MalformedError{"Resource " + s + " can not contain region information.", ""}
	}
	return raw, nil
}

func (r *resource) match(e *evaluation) bool {
	return r.any || e.isARN && r.arn.match(e, &e.arn)
}
