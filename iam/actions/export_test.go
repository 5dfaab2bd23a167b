package actions

import "reflect"

// Compile tells whether an operation's row fits an input type.
func Compile(service, op string, in reflect.Type) error {
	n, err := build("us-test-1", nil)
	if err != nil {
		return err
	}
	_, err = n.compile(n.ops[service][op].row, in)
	return err
}
