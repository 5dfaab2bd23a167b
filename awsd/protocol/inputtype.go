package protocol

import "reflect"

// InputType is the SDK's input struct of the operation.
func (op *Operation) InputType() reflect.Type { return reflect.TypeOf(op.types.In).Elem() }
