package policy

import (
	"slices"
	"strings"
)

// resource is a pattern of ARNs, matched part by part: a wildcard does not reach from one part of
// the ARN into the next, but in the last part it crosses slashes and colons.
type resource struct {
	any   bool // "*"
	text  string
	parts [6]pattern
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
	out := resource{text: s}
	for i, part := range raw {
		syntax := patternSyntax{wildcards: true, variables: d.variables && i == 5}
		if i < 5 && strings.Contains(part, "${") {
			return resource{}, &MalformedError{legacy, "policy variables are not allowed in this part of resource " + quoted(s)}
		}
		if out.parts[i], err = syntax.compile(part); err != nil {
			return resource{}, err
		}
	}
	return out, nil
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
	if r.any {
		return true
	}
	return e.isARN && matchARN(&r.parts, e, &e.arn)
}

func matchARN(parts *[6]pattern, e *evaluation, arn *[6]string) bool {
	for i := 5; i >= 0; i-- { // the last part tells resources apart soonest
		if !parts[i].match(e, arn[i]) {
			return false
		}
	}
	return true
}

// splitARN cuts an ARN into its six parts; the last keeps its colons.
func splitARN(s string) (parts [6]string, ok bool) {
	if !strings.HasPrefix(s, "arn:") {
		return parts, false
	}
	for i := range 5 {
		if parts[i], s, ok = strings.Cut(s, ":"); !ok {
			return parts, false
		}
	}
	parts[5] = s
	return parts, true
}
