package trail

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hive/awsd/protocol"
	"hive/fsm"
)

// secret are the members, in lower case, whose values are never kept. CloudTrail hides them in the same words.
var secret = map[string]bool{
	"password": true, "oldpassword": true, "newpassword": true, "secretaccesskey": true, "sessiontoken": true,
	"privatekey": true, "privatekeymaterial": true, "keymaterial": true, "userdata": true, "base32stringseed": true, "qrcodepng": true,
	"authenticationcode1": true, "authenticationcode2": true, "tokencode": true, "webidentitytoken": true,
	"samlassertion": true, "assertionencryptionkey": true, "serversidecustomerkey": true, "ssecustomerkey": true,
	"copysourcessecustomerkey": true, "encodedmessage": true, "clientsecret": true, "addprivatekey": true, "servicepassword": true, "servicecredentialsecret": true,
}

const hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

// maxJSON bounds what is kept of one call's parameters or answer, in bytes.
const maxJSON = 16 << 10

// maxText bounds one text in it, in bytes.
const maxText = 4 << 10

// redacted is an input or an output of the SDK as JSON with names in lower camel case, without secrets and without what is
// not set; nil when nothing is.
func redacted(v any) []byte {
	if v == nil {
		return nil
	}
	value, set := plain(reflect.ValueOf(v), 0)
	if !set {
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return []byte(`{"omitted":"not to be written as JSON"}`)
	}
	return raw
}

// kept is what is kept of a call's parameters or answer.
func kept(raw []byte) []byte {
	if len(raw) > maxJSON {
		return []byte(`{"omitted":"longer than what is kept"}`)
	}
	return raw
}

// maxField bounds a text of an event that comes from the caller, in bytes. CloudTrail cuts user agents and error messages at
// 1 KB too.
const maxField = 1 << 10

// clean is a text that a record may hold, whatever bytes the caller has sent.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxField {
		return strings.ToValidUTF8(s[:maxField], "") + "…"
	}
	return s
}

// maxDepth is deeper than any input of AWS that is kept.
const maxDepth = 12

// plain is a value in types of JSON, and whether it says anything.
func plain(v reflect.Value, depth int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, false
		}
		out, _ := plain(v.Elem(), depth+1)
		return out, out != nil
	case reflect.Struct:
		return plainStruct(v, depth)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 || v.Len() == 0 {
			return nil, false // bytes are data
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i], _ = plain(v.Index(i), depth+1)
		}
		return out, true
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()], _ = plain(v.MapIndex(k), depth+1)
		}
		return out, len(out) > 0
	case reflect.String:
		return short(v.String()), v.Len() > 0
	case reflect.Bool:
		return v.Bool(), v.Bool()
	case reflect.Int32, reflect.Int64, reflect.Int:
		return v.Int(), v.Int() != 0
	case reflect.Float32, reflect.Float64:
		return v.Float(), v.Float() != 0
	}
	return nil, false // streams and metadata
}

func short(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

func plainStruct(v reflect.Value, depth int) (any, bool) {
	if t, ok := v.Interface().(time.Time); ok {
		return t.UTC().Format(time.RFC3339), true
	}
	out := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		value, set := plain(v.Field(i), depth+1)
		if secret[strings.ToLower(f.Name)] || f.Name == "Value" && secretAttribute(v) {
			value, set = hidden, !v.Field(i).IsZero()
		}
		if set {
			out[lowerCamel(f.Name)] = value
		}
	}
	return out, len(out) > 0
}

// secretAttribute tells of an input that names in Attribute a secret member, whose value it has in Value: EC2's
// ModifyInstanceAttribute.
func secretAttribute(v reflect.Value) bool {
	a := v.FieldByName("Attribute")
	if a.IsValid() && a.Kind() == reflect.Pointer && !a.IsNil() {
		a = a.Elem()
	}
	return a.IsValid() && a.Kind() == reflect.String && secret[strings.ToLower(a.String())]
}

func lowerCamel(name string) string {
	r, n := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(r)) + name[n:]
}

// targets are the resources of a call, each once.
type targets struct{ list []fsm.AuditTarget }

// maxTargets bounds them.
const maxTargets = 50

func (t *targets) put(kind, name string) {
	name = clean(name)
	for _, have := range t.list {
		if have.Type == kind && have.Name == name {
			return
		}
	}
	if len(t.list) < maxTargets && name != "" && !strings.ContainsAny(name, "*?") {
		t.list = append(t.list, fsm.AuditTarget{Type: kind, Name: name})
	}
}

// ec2Types are CloudTrail's names of resources by the prefix of their ids.
var ec2Types = map[string]string{
	"i": "AWS::EC2::Instance", "vol": "AWS::EC2::Volume", "snap": "AWS::EC2::Snapshot", "ami": "AWS::EC2::Ami",
	"vpc": "AWS::EC2::VPC", "subnet": "AWS::EC2::Subnet", "sg": "AWS::EC2::SecurityGroup", "eni": "AWS::EC2::NetworkInterface",
	"igw": "AWS::EC2::InternetGateway", "rtb": "AWS::EC2::RouteTable", "eipalloc": "AWS::EC2::EIP",
}

var ec2ID = regexp.MustCompile(`"([a-z]+)-[0-9a-f]{17}"`)

// scan finds the ids of EC2 in JSON.
func (t *targets) scan(raw []byte) {
	for _, m := range ec2ID.FindAllSubmatch(raw, -1) {
		if kind := ec2Types[string(m[1])]; kind != "" {
			t.put(kind, strings.Trim(string(m[0]), `"`))
		}
	}
}

// iamTypes are CloudTrail's names of resources by what their ARNs begin with.
var iamTypes = map[string]string{
	"user": "AWS::IAM::User", "group": "AWS::IAM::Group", "role": "AWS::IAM::Role", "policy": "AWS::IAM::Policy",
	"instance-profile": "AWS::IAM::InstanceProfile", "mfa": "AWS::IAM::MFADevice", "oidc-provider": "AWS::IAM::OIDCProvider",
	"saml-provider": "AWS::IAM::SAMLProvider", "server-certificate": "AWS::IAM::ServerCertificate",
}

// add finds resources in the ARNs on which a call had to be permitted.
func (t *targets) add(call *protocol.Call) {
	for _, need := range call.Access {
		parts := strings.SplitN(need.Resource, ":", 6)
		if len(parts) != 6 {
			continue
		}
		kind, name, _ := strings.Cut(parts[5], "/")
		switch parts[2] {
		case "iam":
			if iamTypes[kind] != "" {
				t.put(iamTypes[kind], name[strings.LastIndexByte(name, '/')+1:])
			}
		case "s3":
			t.put("AWS::S3::Bucket", kind)
		case "ec2":
			if kind == "key-pair" {
				t.put("AWS::EC2::KeyPair", name)
			}
		}
	}
}
