package fsm

import (
	"hash/fnv"
	"reflect"
)

// ec2Golden are the commands of EC2 and EBS. Their examples are filled by field name: a field that is added changes no
// other's value.
var ec2Golden = func() []Command {
	var out []Command
	for _, rows := range [][]KindEntry{vpcKinds, instanceKinds, volumeKinds, imageKinds, tagKinds, chunkKinds} {
		for _, row := range rows {
			cmd := row.New()
			fillByName(reflect.ValueOf(cmd).Elem(), "")
			out = append(out, cmd)
		}
	}
	return out
}()

func fillByName(v reflect.Value, name string) {
	h := fnv.New32a()
	h.Write([]byte(name)) // never fails
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); !f.Anonymous {
				fillByName(v.Field(i), f.Name)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillByName(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillByName(v.Index(0), name)
	case reflect.Array:
		for i := range v.Len() {
			fillByName(v.Index(i), name)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(name)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(h.Sum32()>>8) + 1)
	case reflect.Uint8:
		v.SetUint(uint64(h.Sum32()%200) + 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(h.Sum32()>>17) + 1)
	default:
		panic("fsm: no example for a " + v.Type().String())
	}
}
