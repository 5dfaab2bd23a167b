package iam

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"hive/fsm"
)

// Limits of the IAM API's inputs, from its reference.
const (
	maxNewUserName = 64
	maxUserName    = 128
	maxPolicyName  = 128
	maxPathLength  = 512
	maxDocument    = 131_072
	minARN, maxARN = 20, 2048
	minKeyID       = 16
	maxKeyID       = 128
	maxTags        = 50
	maxTagKey      = 128
	maxTagValue    = 256
)

// wordPattern is \w and a length in bytes.
func wordPattern(s string, shortest, longest int) bool {
	return len(s) >= shortest && len(s) <= longest && !strings.ContainsFunc(s, func(r rune) bool { return !word(r) })
}

func word(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_'
}

func nameRune(r rune) bool { return word(r) || strings.ContainsRune("+=,.@-", r) }

// required is the value of a parameter that must be given, from 1 to longest characters.
func required(value *string, parameter string, longest int) (string, error) {
	if value == nil {
		return "", constraint("null", parameter, "Member must not be null")
	}
	switch n := utf8.RuneCountInString(*value); {
	case n == 0:
		return "", constraint("''", parameter, "Member must have length greater than or equal to 1")
	case n > longest:
		return "", constraint(quoted(*value), parameter, fmt.Sprintf("Member must have length less than or equal to %d", longest))
	}
	return *value, nil
}

// quoted is a value as messages show it: its beginning is enough to recognise it.
func quoted(s string) string {
	const shown = 200
	if len(s) > shown {
		s = strings.ToValidUTF8(s[:shown], "") + "…"
	}
	return "'" + s + "'"
}

func constraint(value, parameter, rule string) error {
	return invalid("1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s", value, parameter, rule)
}

// requiredName is the value of a parameter that must be a name.
func requiredName(value *string, parameter string, longest int) (string, error) {
	name, err := required(value, parameter, longest)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
		return "", invalid("The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", parameter)
	}
	return name, nil
}

// validPath is a path, "/" where none is given.
func validPath(value *string, parameter string) (string, error) {
	if value == nil {
		return "/", nil
	}
	path, err := required(value, parameter, maxPathLength)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") || strings.ContainsFunc(path, unprintable) {
		return "", invalid("The specified value for %s is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.", parameter)
	}
	return path, nil
}

// validPrefix is a path prefix, "/" where none is given.
func validPrefix(value *string) (string, error) {
	if value == nil {
		return "/", nil
	}
	prefix, err := required(value, "pathPrefix", maxPathLength)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(prefix, "/") || strings.ContainsFunc(prefix, unprintable) {
		return "", invalid("The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters and/or / characters.")
	}
	return prefix, nil
}

func validKeyID(value *string) (fsm.AccessKeyID, error) {
	id, err := required(value, "accessKeyId", maxKeyID)
	if err != nil {
		return "", err
	}
	if len(id) < minKeyID {
		return "", constraint(quoted(id), "accessKeyId", fmt.Sprintf("Member must have length greater than or equal to %d", minKeyID))
	}
	if !wordPattern(id, minKeyID, maxKeyID) {
		return "", constraint(quoted(id), "accessKeyId", `Member must satisfy regular expression pattern: [\w]+`)
	}
	return fsm.AccessKeyID(id), nil
}

func validARN(value *string) (string, error) { return validARNOf(value, "policyArn") }

// validARNOf is the value of a parameter that must be an ARN.
func validARNOf(value *string, parameter string) (string, error) {
	arn, err := required(value, parameter, maxARN)
	if err != nil {
		return "", err
	}
	if len(arn) < minARN {
		return "", constraint(quoted(arn), parameter, fmt.Sprintf("Member must have length greater than or equal to %d", minARN))
	}
	if !strings.HasPrefix(arn, "arn:") || strings.Count(arn, ":") < 5 {
		return "", invalid("Invalid ARN:  Could not be parsed!")
	}
	return arn, nil
}

func validTagKey(value *string, where string) (string, error) {
	key, err := required(value, where, maxTagKey)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(key, func(r rune) bool { return !tagRune(r) }) {
		return "", constraint(quoted(key), where, `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
	}
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return "", invalidInput("Tag keys that start with aws: are reserved for system use.")
	}
	return key, nil
}

func tagRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Z, r) || strings.ContainsRune("_.:/=+-@", r)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
