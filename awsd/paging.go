package awsd

import (
	"net/http"
	"reflect"

	"hive/awsd/protocol"
	"hive/iam/principal"
	"hive/internal/pagetoken"
)

// paging is what awsd does to the tokens of an operation that answers in pages: a handler writes a place (the key of the
// last item, say) as its next token and gets it back with the next request; what the client sees in between is sealed and
// bound to account, operation and input. So every token of every service is opaque, and no handler does anything for it.
type paging struct {
	sealer pagetoken.Sealer
	notes  protocol.Notes
	bound  []string
	in     reflect.Value // the input
	sent   string        // the token as the client sent it
}

// openPage replaces the token of an operation's input by what it was made of.
func (x *exchange) openPage(c *principal.Caller, op *protocol.Operation, input any) (*paging, error) {
	if op.Notes.PageToken == "" {
		return nil, nil
	}
	p := &paging{sealer: x.Pages, notes: op.Notes, in: reflect.ValueOf(input).Elem()}
	p.bound = []string{c.Account, x.service.API.Service, op.Name}
	token := member(p.in, p.notes.PageToken)
	if token == nil || *token == nil || **token == "" {
		return p, nil
	}
	p.sent = **token
	if err := p.bind(); err != nil {
		return nil, err
	}
	after, err := pagetoken.Open(p.sealer, p.bound, p.sent)
	if err != nil {
		return nil, badPage(x.service.API)
	}
	*token = &after
	return p, nil
}

// bind takes the request itself into what its tokens are bound to, once.
func (p *paging) bind() error {
	if len(p.bound) > 3 {
		return nil
	}
	hash, err := pagetoken.Request(p.in.Interface(), p.notes.PageToken, p.notes.PageSize, "DryRun")
	p.bound = append(p.bound, hash)
	return err
}

// seal makes the next page's token of the place that the handler wrote, and sees to it that an answer which repeats the
// request's token repeats what was sent.
func (p *paging) seal(output any) error {
	if p == nil {
		return nil
	}
	out := reflect.Indirect(reflect.ValueOf(output))
	if out.Kind() != reflect.Struct {
		return nil
	}
	if p.notes.PageToken != p.notes.NextPageToken && p.sent != "" {
		if repeated := member(out, p.notes.PageToken); repeated != nil && *repeated != nil {
			*repeated = &p.sent
		}
	}
	next := member(out, p.notes.NextPageToken)
	if next == nil || *next == nil || **next == "" {
		return nil
	}
	if err := p.bind(); err != nil {
		return err
	}
	token, err := pagetoken.Seal(p.sealer, p.bound, **next)
	if err != nil {
		return err
	}
	*next = &token
	return nil
}

// member is a struct's field for a string, nil when it has none of that name.
func member(v reflect.Value, name string) **string {
	f := v.FieldByName(name)
	if !f.IsValid() || !f.CanAddr() {
		return nil
	}
	p, _ := f.Addr().Interface().(**string)
	return p
}

// badPage answers a token that was not made for the request, in the service's words.
func badPage(api *protocol.API) *protocol.Error {
	refuse := func(code, message string, fields ...protocol.Field) *protocol.Error {
		return &protocol.Error{Status: http.StatusBadRequest, Code: code, Message: message, Fields: fields}
	}
	switch api.Service {
	case "ec2":
		return refuse("InvalidNextToken", "The specified NextToken is not valid: use that of the previous answer, with the same parameters.")
	case "s3":
		return refuse("InvalidArgument", "The continuation token provided is incorrect", protocol.Field{Name: "ArgumentName", Value: "continuation-token"})
	case "ebs":
		return refuse("ValidationException", "The page token is not valid.", protocol.Field{Name: "Reason", Value: "INVALID_PAGE_TOKEN"})
	case "cloudtrail":
		return refuse("InvalidNextTokenException", "The token is not valid: use that of the previous answer, with the same parameters.")
	case "tagging":
		return refuse("PaginationTokenExpiredException", "The PaginationToken is not valid: begin again without one.")
	}
	return refuse("ValidationError", "Invalid Marker: use the Marker of the previous answer, with the same parameters.")
}
