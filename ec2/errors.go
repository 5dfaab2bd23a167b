package ec2

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"hive/awsd/protocol"
	"hive/fsm"
)

// Codes of "Error codes for the Amazon EC2 API" that more than one operation answers.
const (
	codeMissing     = "MissingParameter"
	codeInvalid     = "InvalidParameterValue"
	codeCombination = "InvalidParameterCombination"
	codeUnsupported = "UnsupportedOperation"
)

// resource is how EC2 speaks of one kind of resource: the prefix of its ids, its name in messages, and its error codes.
type resource struct {
	prefix    string // of ids, without the hyphen
	noun      string // "instance ID"
	malformed string // code
	notFound  string // code
	tagType   string // ResourceType in tags and filters
	words     string // message of malformed; ID stands for the id
}

const (
	invalidID       = `Invalid id: "ID"`
	invalidExpected = `Invalid id: "ID" (expecting "PREFIX-...")`
	valueExpected   = "Value (ID) for parameter NAME is invalid. Expected: 'PREFIX-...'."
)

// resources are all kinds, in the order in which a prefix is looked up.
// Sources: "Error codes for the Amazon EC2 API"; the messages are those that EC2 gives.
var resources = []resource{
	{"i", "instance ID", "InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound", "instance", invalidID},
	{"vol", "volume", codeInvalid, "InvalidVolume.NotFound", "volume", strings.Replace(valueExpected, "NAME", "volumeId", 1)},
	{"snap", "snapshot", codeInvalid, "InvalidSnapshot.NotFound", "snapshot", strings.Replace(valueExpected, "NAME", "snapshotId", 1)},
	{"ami", "image id", "InvalidAMIID.Malformed", "InvalidAMIID.NotFound", "image", invalidExpected},
	{"vpc", "vpc ID", "InvalidVpcID.Malformed", "InvalidVpcID.NotFound", "vpc", invalidID},
	{"subnet", "subnet ID", "InvalidSubnetId.Malformed", "InvalidSubnetID.NotFound", "subnet", invalidID},
	{"sg", "security group", "InvalidGroupId.Malformed", "InvalidGroup.NotFound", "security-group", invalidExpected},
	{"eni", "networkInterface ID", "InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound", "network-interface", invalidExpected},
	{"key", "key pair", "InvalidKeyPair.NotFound", "InvalidKeyPair.NotFound", "key-pair", "The key pair 'ID' does not exist"},
	{tiePrefix, "IAM instance profile association", "InvalidAssociationID.NotFound", "InvalidAssociationID.NotFound", "", invalidExpected},
	{"import-ami", "import image task", "InvalidConversionTaskId.Malformed", "InvalidConversionTaskId", "import-image-task", invalidExpected},
	{"import-snap", "import snapshot task", "InvalidConversionTaskId.Malformed", "InvalidConversionTaskId", "import-snapshot-task", invalidExpected},
}

// resourceOf is the kind of an id by its prefix.
func resourceOf(id string) (resource, bool) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return resource{}, false
	}
	for _, r := range resources {
		if r.prefix == id[:i] {
			return r, true
		}
	}
	return resource{}, false
}

// checkID refuses an id that is none of the kind of that prefix: AWS's are 8 or 17 hex digits after it.
func checkID(prefix, id string) error {
	i := slices.IndexFunc(resources, func(r resource) bool { return r.prefix == prefix })
	if i < 0 {
		return fmt.Errorf("ec2 knows no ids that begin with %q", prefix)
	}
	digits, ok := strings.CutPrefix(id, prefix+"-")
	if ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == "" {
		return nil
	}
	r := resources[i]
	return bad(r.malformed, "%s", strings.NewReplacer("ID", id, "PREFIX", prefix).Replace(r.words))
}

// checkIDs refuses the first that is malformed.
func checkIDs(prefix string, ids []string) error {
	for _, id := range ids {
		if err := checkID(prefix, id); err != nil {
			return err
		}
	}
	return nil
}

// requiredID is the id that a required parameter holds.
func requiredID(prefix, name string, id *string) (string, error) {
	if id == nil || *id == "" {
		return "", missing(name)
	}
	return *id, checkID(prefix, *id)
}

// notFound is the answer for ids of one kind that the account does not have.
func notFound(ids ...string) *protocol.Error {
	r, ok := resourceOf(ids[0])
	if !ok {
		return bad("InvalidID", "The ID '%s' is not valid", ids[0])
	}
	list := "'" + strings.Join(ids, ", ") + "'"
	switch {
	case r.prefix == "ami":
		list = "'[" + strings.Join(ids, ", ") + "]'"
	case len(ids) > 1 && r.prefix == "i":
		return bad(r.notFound, "The instance IDs '%s' do not exist", strings.Join(ids, ", "))
	}
	verb := "does"
	if len(ids) > 1 {
		verb = "do"
	}
	return bad(r.notFound, "The %s %s %s not exist", r.noun, list, verb)
}

// bad is an answer of status 400.
func bad(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(http.StatusBadRequest, code, format, args...)
}

func invalid(format string, args ...any) *protocol.Error { return bad(codeInvalid, format, args...) }

func missing(name string) *protocol.Error {
	return bad(codeMissing, "The request must contain the parameter %s", name)
}

// refusal is err in EC2's words where it is a refusal of the state machine, and err itself otherwise. Handlers word what
// needs more than this: it serves for what has changed between reading and proposing.
func refusal(err error) error {
	var refused *fsm.Error
	if !errors.As(err, &refused) {
		return err
	}
	if over := overQuota(err); over != nil {
		return over
	}
	_, known := resourceOf(refused.Resource)
	switch {
	case errors.Is(err, fsm.ErrNotFound) && known:
		return notFound(refused.Resource)
	case errors.Is(err, fsm.ErrLimit) && known:
		return errTagLimit()
	case errors.Is(err, fsm.ErrConflict):
		return protocol.Errorf(http.StatusServiceUnavailable, "Unavailable",
			"The request was overtaken by others on %s again and again. Try again.", refused.Resource)
	}
	return fmt.Errorf("EC2 has no words for this refusal: %w", err)
}

// supports refuses a request that sets a member besides the named ones and DryRun: what Hive cannot do it does not
// pretend to do. in is a pointer to the SDK's input struct. Empty lists, empty texts, 0 and false count as not set.
func supports(in any, members ...string) error {
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !v.Type().Field(i).IsExported() || name == "DryRun" || slices.Contains(members, name) || idle(v.Field(i)) {
			continue
		}
		return bad(codeUnsupported, "The parameter %s is not supported: leave it out.", name)
	}
	return nil
}

// idle tells whether a member asks for nothing.
func idle(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer:
		return v.IsNil() || v.Elem().IsZero()
	}
	return v.IsZero()
}

// dryRun answers a dry run once everything else was checked.
func dryRun(asked *bool) error {
	if asked == nil || !*asked {
		return nil
	}
	return protocol.Errorf(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}
