package protocol

import (
	"net/http"
	"strings"
)

// targetRoutes finds the operation of an awsJson1_1 request by its X-Amz-Target:
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html. The path is always "/".
type targetRoutes struct {
	dialect dialect
	target  string
	ops     map[string]*Operation
}

func (rs targetRoutes) find(r *http.Request) (*Operation, error) {
	name, ok := cutTarget(r.Header.Get("X-Amz-Target"), rs.target)
	op := rs.ops[name]
	if !ok || op == nil || r.Method != http.MethodPost || r.URL.Path != "/" {
		return nil, rs.dialect.missingAction()
	}
	return op, nil
}

func (targetRoutes) labels(*Operation, *http.Request) ([]pair, error) { return nil, nil }

// cutTarget parts "CloudTrail_20131101.LookupEvents". Some clients write a namespace before the service's name.
func cutTarget(target, service string) (operation string, ok bool) {
	i := strings.LastIndexByte(target, '.')
	if i < 0 || service == "" {
		return "", false
	}
	name := target[:i]
	return target[i+1:], name == service || strings.HasSuffix(name, "."+service)
}

// targetDialect is that of CloudTrail and of the Resource Groups Tagging API.
type targetDialect struct {
	jsonDialect
	service string
}

// invalidCodes are the codes that a service has for what is wrong with a member; the last of a service is for all others.
// Sources: the errors of LookupEvents in the CloudTrail API Reference; InvalidParameterException in that of the Resource
// Groups Tagging API.
var invalidCodes = []struct{ service, member, code string }{
	{"cloudtrail", "maxResults", "InvalidMaxResultsException"},
	{"cloudtrail", "lookupAttributes", "InvalidLookupAttributesException"},
	{"cloudtrail", "eventCategory", "InvalidEventCategoryException"},
	{"cloudtrail", "nextToken", "InvalidNextTokenException"},
	{"tagging", "", "InvalidParameterException"},
	{"", "", "ValidationException"},
}

// invalidCode is the code of what is wrong with the member that a path begins with.
func (d targetDialect) invalidCode(path string) string {
	member, _, _ := strings.Cut(path, ".")
	row := invalidCodes[len(invalidCodes)-1]
	for _, r := range invalidCodes {
		if r.service == d.service && (r.member == member || r.member == "") {
			row = r
			break
		}
	}
	return row.code
}

func (targetDialect) missingAction() *Error {
	return Errorf(http.StatusBadRequest, "UnknownOperationException", "The header X-Amz-Target names no operation of this service.")
}

func (d targetDialect) unknownAction(string, string, string) *Error { return d.missingAction() }

func (d targetDialect) invalid(found []violation) *Error {
	return Errorf(http.StatusBadRequest, d.invalidCode(found[0].path), "%s", aggregated(found))
}

func (d targetDialect) badValue(name, value string, c *codec) *Error {
	if c.kind == kindEnum {
		e := queryDialect{}.badValue(name, value, c)
		e.Code = d.invalidCode(lowerFirst(name))
		return e
	}
	return d.malformed("the value of " + name + " is not valid. " + c.expectation())
}

func (d targetDialect) missing(names []string) *Error {
	e := queryDialect{}.missing(names)
	e.Code = d.invalidCode("")
	return e
}
