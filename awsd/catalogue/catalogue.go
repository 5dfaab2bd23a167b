// Package catalogue is which errors each AWS service answers: code, HTTP status, whose fault it is, and the message where it
// has one form. It is what AWS publishes, as data, and never decides which of them an operation answers.
package catalogue

import (
	"embed"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

//go:embed *.txt
var files embed.FS

// Error is one error of a service.
type Error struct {
	Code    string
	Status  int    // of HTTP
	Message string // capitals stand for what differs; "" where it has no one form
}

// Receiver tells whether the fault is the service's: else it is the sender's.
func (e Error) Receiver() bool { return e.Status >= http.StatusInternalServerError }

// Catalogue is the errors of the services by their signing names. The zero value has none.
type Catalogue struct{ errors map[string]map[string]Error }

// New reads the catalogue. An error is a fault of the data, which a test finds.
func New() (Catalogue, error) {
	c := Catalogue{map[string]map[string]Error{}}
	names, err := files.ReadDir(".")
	if err != nil {
		return c, err
	}
	for _, f := range names {
		text, err := files.ReadFile(f.Name())
		if err != nil {
			return c, err
		}
		service := strings.TrimSuffix(f.Name(), ".txt")
		if c.errors[service], err = parse(string(text)); err != nil {
			return c, fmt.Errorf("catalogue of %s: %w", service, err)
		}
	}
	return c, nil
}

// parse reads lines of code, status and message, parted by tabs, sorted by code.
func parse(text string) (map[string]Error, error) {
	all, last := map[string]Error{}, ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(cells) < 2 || cells[0] <= last {
			return nil, fmt.Errorf("the line %q is not in the form or not in its place", line)
		}
		status, err := strconv.Atoi(cells[1])
		if err != nil || http.StatusText(status) == "" {
			return nil, fmt.Errorf("%s: status %q", cells[0], cells[1])
		}
		last = cells[0]
		e := Error{Code: cells[0], Status: status}
		if len(cells) > 2 {
			e.Message = cells[2]
		}
		all[e.Code] = e
	}
	return all, nil
}

// Lookup finds an error of a service.
func (c Catalogue) Lookup(service, code string) (Error, bool) {
	e, ok := c.errors[service][code]
	return e, ok
}

// Services are the signing names of the services that it knows, in order.
func (c Catalogue) Services() []string {
	var names []string
	for name := range c.errors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Of are the errors of a service by code, in order.
func (c Catalogue) Of(service string) []Error {
	var all []Error
	for _, e := range c.errors[service] {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Error) int { return strings.Compare(a.Code, b.Code) })
	return all
}
