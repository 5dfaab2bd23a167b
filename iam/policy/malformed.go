package policy

import "strconv"

// MalformedError is a document that is not a policy, or that says something this package does not
// understand. Message is the text that AWS answers with, and safe to show; Detail says what was
// found, where that text does not.
type MalformedError struct{ Message, Detail string }

// Error is the message and the detail.
func (e *MalformedError) Error() string {
	if e.Detail == "" {
		return "malformed policy document: " + e.Message
	}
	return "malformed policy document: " + e.Message + " (" + e.Detail + ")"
}

// Messages that IAM has for more than one fault.
const (
	syntaxErrors = "Syntax errors in policy."
	legacy       = "The policy failed legacy parsing"
)

// syntax is a document of this kind whose elements do not fit together.
func (d *dialect) syntax(detail string) error {
	if d.kind == Resource {
		return &MalformedError{"Invalid policy syntax.", detail}
	}
	return &MalformedError{syntaxErrors, detail}
}

// notJSON is a document that is not even JSON.
func (d *dialect) notJSON(detail string) error {
	switch d.kind {
	case Trust:
		return &MalformedError{"This policy contains invalid Json", detail}
	case Resource:
		return &MalformedError{"Policies must be valid JSON and the first byte must be '{'", detail}
	}
	return &MalformedError{"The policy is not in the valid JSON format.", detail}
}

func quoted(s string) string { return strconv.Quote(s) }
