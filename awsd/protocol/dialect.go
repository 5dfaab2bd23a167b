package protocol

import (
	"fmt"
	"math"
	"net/http"
	"strings"
)

// dialect is how a service words its complaints about a request. Sources: the EC2 API reference, "Error codes
// for the Amazon EC2 API"; the IAM API reference, "Common Errors"; the S3 API reference, "Error responses".
type dialect interface {
	missingAction() *Error
	unknownAction(action, version, ours string) *Error
	// badValue: value does not have the form of c's type. name is the parameter, header or element.
	badValue(name, value string, c *codec) *Error
	// missing lists the required members that were not sent, by wire name.
	missing(names []string) *Error
	// unknown answers a parameter that the operation does not have; nil where the service overlooks it.
	unknown(name string) *Error
	// invalid: the request breaks rules of the model.
	invalid(found []violation) *Error
	// malformed: the request as a whole cannot be read.
	malformed(why string) *Error
}

func dialectOf(protocol, service string) dialect {
	switch protocol {
	case "ec2Query":
		return ec2Dialect{}
	case "awsQuery":
		return queryDialect{service}
	case protocolRESTJSON:
		return jsonDialect{}
	case protocolJSON:
		return targetDialect{service: service}
	}
	return s3Dialect{}
}

type ec2Dialect struct{}

func (ec2Dialect) missingAction() *Error {
	return Errorf(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
}

func (ec2Dialect) unknownAction(action, version, ours string) *Error {
	if version != "" && version != ours {
		return Errorf(http.StatusBadRequest, "NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist: use %s", version, ours)
	}
	return Errorf(http.StatusBadRequest, "InvalidAction", "The action %s is not valid for this web service.", action)
}

func (ec2Dialect) badValue(name, value string, c *codec) *Error {
	return Errorf(http.StatusBadRequest, "InvalidParameterValue", "Invalid value '%s' for %s. %s", value, name, c.expectation())
}

func (ec2Dialect) missing(names []string) *Error {
	return Errorf(http.StatusBadRequest, "MissingParameter", "The request must contain the parameter %s", strings.Join(names, ", "))
}

func (ec2Dialect) unknown(name string) *Error {
	return Errorf(http.StatusBadRequest, "UnknownParameter", "The parameter %s is not recognized", name)
}

func (ec2Dialect) malformed(why string) *Error {
	return Errorf(http.StatusBadRequest, "InvalidQueryParameter", "The query is malformed: %s", why)
}

func (ec2Dialect) invalid(found []violation) *Error {
	v := found[0] // EC2 tells of one
	value := strings.Trim(v.value, "'")
	if !v.number {
		return Errorf(http.StatusBadRequest, "InvalidParameterValue", "Value (%s) for parameter %s is invalid. %s", value, v.path, v.rule)
	}
	expecting := fmt.Sprintf("between %s and %s", decimal(v.of.min), decimal(v.of.max))
	switch {
	case math.IsInf(v.of.max, 1):
		expecting = "of at least " + decimal(v.of.min)
	case math.IsInf(v.of.min, -1):
		expecting = "of at most " + decimal(v.of.max)
	}
	return Errorf(http.StatusBadRequest, "InvalidParameterValue", "Value ( %s ) for parameter %s is invalid. Expecting a value %s.", value, v.path, expecting)
}

// queryDialect is that of IAM and STS. They overlook parameters that they do not know.
type queryDialect struct{ service string }

// iamWords are what IAM says of names and paths that break their pattern, instead of showing it.
var iamWords = map[string]string{
	`[\w+=,.@-]+`: "It must contain only alphanumeric characters and/or the following: +=,.@_-",
	`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`: "It must begin and end with / and contain only alphanumeric characters and/or / characters.",
	`\u002F[\u0021-\u007F]*`:                  "It must begin with / and contain only alphanumeric characters and/or / characters.",
}

func (d queryDialect) invalid(found []violation) *Error {
	if v := found[0]; d.service == "iam" && len(found) == 1 && v.limits != nil && v.limits.pattern != nil && v.rule == v.limits.patternRule() {
		if words := iamWords[v.limits.pattern.text]; words != "" {
			return Errorf(http.StatusBadRequest, "ValidationError", "The specified value for %s is invalid. %s", v.path, words)
		}
	}
	return Errorf(http.StatusBadRequest, "ValidationError", "%s", aggregated(found))
}

// aggregated is how AWS tells of the rules that a request breaks.
func aggregated(found []violation) string {
	var b strings.Builder
	plural := "s"
	if len(found) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "%d validation error%s detected: ", len(found), plural)
	for i, v := range found {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString("Value ")
		if v.value != "" {
			b.WriteString(v.value + " ")
		}
		b.WriteString("at '" + v.path + "' failed to satisfy constraint: " + v.rule)
	}
	return b.String()
}

func (queryDialect) missingAction() *Error {
	return Errorf(http.StatusBadRequest, "MissingAction", "The request is missing an action or a required parameter.")
}

func (queryDialect) unknownAction(action, version, ours string) *Error {
	if version == "" {
		version = ours
	}
	return Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", action, version)
}

func (queryDialect) badValue(name, value string, c *codec) *Error {
	if c.kind != kindEnum {
		return Errorf(http.StatusBadRequest, "MalformedInput", "Invalid value '%s' at '%s'. %s", value, lowerFirst(name), c.expectation())
	}
	return Errorf(http.StatusBadRequest, "ValidationError",
		"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]",
		value, lowerFirst(name), strings.Join(c.enum, ", "))
}

func (queryDialect) missing(names []string) *Error {
	var b strings.Builder
	plural := ""
	if len(names) > 1 {
		plural = "s"
	}
	fmt.Fprintf(&b, "%d validation error%s detected: ", len(names), plural)
	for i, n := range names {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(n))
	}
	return &Error{Code: "ValidationError", Message: b.String(), Status: http.StatusBadRequest}
}

func (queryDialect) unknown(string) *Error { return nil }

func (queryDialect) malformed(why string) *Error {
	return Errorf(http.StatusBadRequest, "MalformedInput", "The request is malformed: %s", why)
}

type s3Dialect struct{}

func (s3Dialect) missingAction() *Error {
	return Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
}

func (d s3Dialect) unknownAction(string, string, string) *Error { return d.missingAction() }

func (s3Dialect) badValue(name, value string, c *codec) *Error {
	e := Errorf(http.StatusBadRequest, "InvalidArgument", "The value of %s is not valid. %s", name, c.expectation())
	if strings.EqualFold(name, "x-amz-storage-class") {
		e.Code, e.Message = "InvalidStorageClass", "The storage class you specified is not valid"
	}
	e.Fields = []Field{{"ArgumentName", name}, {"ArgumentValue", value}}
	return e
}

func (s3Dialect) missing(names []string) *Error {
	return Errorf(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: %s", strings.Join(names, ", "))
}

func (s3Dialect) unknown(name string) *Error {
	return Errorf(http.StatusNotImplemented, "NotImplemented", "The query parameter %q is not supported with this operation: leave it out", name)
}

func (s3Dialect) invalid(found []violation) *Error {
	return Errorf(http.StatusBadRequest, "InvalidArgument", "%s", aggregated(found))
}

func (s3Dialect) malformed(why string) *Error {
	return Errorf(http.StatusBadRequest, "MalformedXML",
		"The XML you provided was not well-formed or did not validate against our published schema: %s", why)
}

// expectation says what a value of c's type looks like.
func (c *codec) expectation() string {
	switch c.kind {
	case kindBool:
		return "Expected true or false."
	case kindInt:
		return fmt.Sprintf("Expected a whole number of at most %d bits.", c.typ.Bits())
	case kindFloat:
		return "Expected a number."
	case kindTime:
		return "Expected a date and time, for example 2006-01-02T15:04:05Z."
	case kindBlob:
		return "Expected base64."
	case kindEnum:
		return "Expected one of: " + enumeration(c.enum)
	}
	return ""
}

// enumeration keeps a message short where an enum has hundreds of values.
func enumeration(values []string) string {
	const most = 20
	if len(values) > most {
		return strings.Join(values[:most], ", ") + fmt.Sprintf(" and %d more", len(values)-most)
	}
	return strings.Join(values, ", ")
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
