package protocol_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/awsd/protocol"
)

// formOf is a form of names and values; empty values are left out.
func formOf(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			form.Set(pairs[i], pairs[i+1])
		}
	}
	return form
}

func decodeQuery(t testing.TB, service, action string, form url.Values) (any, error) {
	t.Helper()
	api := apiOf(t, service)
	form.Set("Action", action)
	op, err := api.Route(request(t, "POST", "/"), form)
	must(t, err)
	in, err := api.Decode(op, request(t, "POST", "/"), form, nil)
	if err != nil {
		return nil, err
	}
	return in, api.Validate(op, in)
}

func TestABadQueryParameterIsTheServicesOwnError(t *testing.T) {
	deep := strings.Repeat("A.", 100) + "B"
	for _, c := range []struct {
		service, action, name, value string
		code, fragment               string
	}{
		{"ec2", "DescribeInstances", "Foo.1", "x", "UnknownParameter", "Foo.1"},
		{"ec2", "DescribeInstances", "Filter.1.Foo", "x", "UnknownParameter", "Filter.1.Foo"},
		{"ec2", "DescribeInstances", "MaxResults.1", "3", "UnknownParameter", "MaxResults.1"},
		{"ec2", "DescribeInstances", "InstanceId.x", "i-1", "UnknownParameter", "InstanceId.x"},
		{"ec2", "DescribeInstances", "InstanceId.0", "i-1", "UnknownParameter", "InstanceId.0"},
		{"ec2", "DescribeInstances", "InstanceId.-1", "i-1", "UnknownParameter", "InstanceId.-1"},
		{"ec2", "DescribeInstances", "InstanceId.1.Name", "i-1", "UnknownParameter", "InstanceId.1.Name"},
		{"ec2", "DescribeInstances", "InstanceId.99999999999999999999", "i-1", "UnknownParameter", ""},
		{"ec2", "DescribeInstances", "MaxResults", "many", "InvalidParameterValue", "MaxResults"},
		{"ec2", "DescribeInstances", "MaxResults", "2147483648", "InvalidParameterValue", "32 bits"},
		{"ec2", "DescribeInstances", "DryRun", "maybe", "InvalidParameterValue", "DryRun"},
		{"ec2", "DescribeInstances", "Filter", "x", "InvalidQueryParameter", ""},
		{"ec2", "DescribeInstances", deep, "x", "UnknownParameter", ""},
		{"ec2", "CreateVolume", "VolumeType", "floppy", "InvalidParameterValue", "gp3"},
		{"ec2", "DeleteVolume", "DryRun", "true", "MissingParameter", "VolumeId"},
		{"ec2", "CreateTags", "Tag.1.Key", "k", "MissingParameter", "ResourceId"},
		{"ec2", "RunInstances", "UserData.1", "k", "UnknownParameter", "UserData.1"},
		{"iam", "ListUsers", "MaxItems", "x", "MalformedInput", "maxItems"},
		{"iam", "UpdateAccessKey", "Status", "Sleeping", "ValidationError", "[Active"},
		{"iam", "CreateUser", "Path", "/", "ValidationError", "1 validation error detected: Value null at 'userName'"},
		{"iam", "UpdateAccessKey", "UserName", "u", "ValidationError", "2 validation errors"},
		{"iam", "CreateUser", "Tags.member.1.Value", "v", "ValidationError", "tags.1.member.key"},
		{"iam", "CreateUser", "Tags.1.Value", "v", "MalformedInput", "Tags.1.Value"},
	} {
		_, err := decodeQuery(t, c.service, c.action, formOf(c.name, c.value))
		if d := wantError(err, 400, c.code, c.fragment); d != "" {
			t.Errorf("%s %s=%s: %s", c.action, c.name, c.value, d)
		}
	}
}

func TestARepeatedParameterIsRefused(t *testing.T) {
	_, err := decodeQuery(t, "ec2", "DescribeInstances", url.Values{"InstanceId.1": {"a", "b"}})
	if d := wantError(err, 400, "InvalidQueryParameter", "InstanceId.1"); d != "" {
		t.Error(d)
	}
}

func TestIAMOverlooksUnknownParametersAsAWSDoes(t *testing.T) {
	in, err := decodeQuery(t, "iam", "CreateUser", formOf("UserName", "u", "Foo.1", "x", "Tags", ""))
	must(t, err)
	if got := in.(*iam.CreateUserInput); *got.UserName != "u" {
		t.Errorf("got %v", got)
	}
}

func TestAnEmptyListIsNotAnAbsentOne(t *testing.T) {
	in, err := decodeQuery(t, "iam", "CreateUser", url.Values{"UserName": {"u"}, "Tags": {""}})
	must(t, err)
	if got := in.(*iam.CreateUserInput); got.Tags == nil || len(got.Tags) != 0 {
		t.Errorf("got %#v", got.Tags)
	}
}

func TestSparseListsCloseUpInTheOrderOfTheirNumbers(t *testing.T) {
	in, err := decodeQuery(t, "ec2", "DescribeInstances", formOf(
		"Filter.2000000000.Name", "last", "Filter.10.Name", "third", "Filter.9.Name", "second", "Filter.1.Name", "first",
		"Filter.9.Value.7", "b", "Filter.9.Value.3", "a", "InstanceId.2", "i-1"))
	must(t, err)
	got := in.(*ec2.DescribeInstancesInput)
	var names []string
	for _, f := range got.Filters {
		names = append(names, *f.Name)
	}
	if !reflect.DeepEqual(names, []string{"first", "second", "third", "last"}) ||
		!reflect.DeepEqual(got.Filters[1].Values, []string{"a", "b"}) || !reflect.DeepEqual(got.InstanceIds, []string{"i-1"}) {
		t.Errorf("got %v, %v", names, got)
	}
}

func TestAHugeListNumberAllocatesNothing(t *testing.T) {
	form := formOf("Filter.2000000000.Name", "x", "Filter.1999999999.Value.2000000000", "x")
	if _, err := decodeQuery(t, "ec2", "DescribeInstances", form); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := decodeQuery(t, "ec2", "DescribeInstances", form)
	must(t, err)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

func TestSimilarNamesDoNotMix(t *testing.T) {
	// '-' sorts before '.', so a plain sort would part ClientToken.x from ClientToken.
	_, err := decodeQuery(t, "ec2", "DescribeInstances", formOf("Filter.1.Name", "a", "Filter-1", "x", "Filter.2.Name", "b"))
	if d := wantError(err, 400, "UnknownParameter", "Filter-1"); d != "" {
		t.Error(d)
	}
}

func TestTimestampsAreReadInEveryFormThatAWSTakes(t *testing.T) {
	want := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, s := range []string{"2024-02-03T04:05:06Z", "2024-02-03T04:05:06.000Z", "2024-02-03T06:05:06+02:00", "2024-02-03T04:05:06", "1706933106"} {
		in, err := decodeQuery(t, "ec2", "DescribeSpotPriceHistory", formOf("StartTime", s))
		must(t, err)
		if got := in.(*ec2.DescribeSpotPriceHistoryInput).StartTime; !got.Equal(want) {
			t.Errorf("%s: got %v", s, got)
		}
	}
}

func decodeS3(t testing.TB, r *http.Request, payload string) (any, error) {
	t.Helper()
	api := apiOf(t, "s3")
	op, err := api.Route(r, nil)
	must(t, err)
	return api.Decode(op, r, nil, newBody([]byte(payload)))
}

func TestBadXMLIsRefused(t *testing.T) {
	many := strings.Repeat("<Object><Key>k</Key></Object>", 10_001)
	for name, doc := range map[string]string{
		"cut short":          `<Delete><Object><Key>k</Key>`,
		"wrong root":         `<Remove/>`,
		"unknown element":    `<Delete><Object><Key>k</Key></Object><Force>true</Force></Delete>`,
		"doctype":            `<!DOCTYPE Delete [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>`,
		"entity":             `<Delete><Object><Key>&a;</Key></Object></Delete>`,
		"two roots":          `<Delete><Object><Key>k</Key></Object></Delete><Delete/>`,
		"text after":         `<Delete><Object><Key>k</Key></Object></Delete>x`,
		"text between":       `<Delete>x<Object><Key>k</Key></Object></Delete>`,
		"element in text":    `<Delete><Object><Key><b>k</b></Key></Object></Delete>`,
		"given twice":        `<Delete><Object><Key>k</Key><Key>l</Key></Object></Delete>`,
		"required missing":   `<Delete><Object><VersionId>1</VersionId></Object></Delete>`,
		"bad boolean":        `<Delete><Object><Key>k</Key></Object><Quiet>perhaps</Quiet></Delete>`,
		"bad number":         `<Delete><Object><Key>k</Key><Size>big</Size></Object></Delete>`,
		"too many elements":  `<Delete>` + many + `</Delete>`,
		"no XML":             `{"Delete": []}`,
		"wrong encoding":     `<?xml version="1.0" encoding="UTF-16"?><Delete/>`,
		"not UTF-8":          "<Delete><Object><Key>\xff</Key></Object></Delete>",
		"control characters": "<Delete><Object><Key>\x01</Key></Object></Delete>",
	} {
		_, err := decodeS3(t, request(t, "POST", "/b?delete"), doc)
		if d := wantError(err, 400, "MalformedXML", ""); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	_, err := decodeS3(t, request(t, "POST", "/b?delete"), "")
	if d := wantError(err, 400, "MissingRequestBodyError", ""); d != "" {
		t.Error(d)
	}
	_, err = decodeS3(t, request(t, "POST", "/b?delete"), "<Delete>"+strings.Repeat(" ", 9<<20))
	if d := wantError(err, 400, "MaxMessageLengthExceeded", ""); d != "" {
		t.Error(d)
	}
}

func TestXMLIsReadWithAndWithoutItsNamespaceAndLayout(t *testing.T) {
	for _, doc := range []string{
		`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key> k </Key></Object><Quiet>true</Quiet></Delete>`,
		"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- c -->\n<Delete>\n  <Quiet> true </Quiet>\n  <Object>\n <Key> <![CDATA[k]]><!-- x --> </Key></Object>\n</Delete>\n",
	} {
		in, err := decodeS3(t, request(t, "POST", "/b?delete"), doc)
		must(t, err)
		got := in.(*s3.DeleteObjectsInput).Delete
		if len(got.Objects) != 1 || *got.Objects[0].Key != " k " || !*got.Quiet {
			t.Errorf("%s: got %+v", doc, got)
		}
	}
}

func TestBadHeadersAndQueriesOfS3AreInvalidArguments(t *testing.T) {
	for _, c := range []struct {
		method, target, header, value string
		code, fragment                string
	}{
		{"PUT", "/b/k", "x-amz-acl", "everyone", "InvalidArgument", "x-amz-acl"},
		{"PUT", "/b/k", "x-amz-storage-class", "WARM", "InvalidStorageClass", ""},
		{"PUT", "/b/k", "x-amz-object-lock-retain-until-date", "tomorrow", "InvalidArgument", "retain-until"},
		{"PUT", "/b/k", "x-amz-server-side-encryption-bucket-key-enabled", "si", "InvalidArgument", "true or false"},
		{"GET", "/b?max-keys=all", "", "", "InvalidArgument", "max-keys"},
		{"GET", "/b?max-keys=99999999999", "", "", "InvalidArgument", "max-keys"},
		{"GET", "/b?encoding-type=base64", "", "", "InvalidArgument", "encoding-type"},
		{"PUT", "/b/k?partNumber=x&uploadId=u", "", "", "InvalidArgument", "partnumber"},
		{"GET", "/b/k?attributes", "", "", "InvalidRequest", "x-amz-object-attributes"},
		{"GET", "/b/k?attributes", "x-amz-object-attributes", "ETag,Colour", "InvalidArgument", ""},
	} {
		_, err := decodeS3(t, request(t, c.method, c.target, c.header, c.value), "")
		if d := wantError(err, 400, c.code, c.fragment); d != "" {
			t.Errorf("%s %s %s: %s: %s", c.method, c.target, c.header, c.value, d)
		}
	}
}

func TestAConditionThatIsNotADateIsNoCondition(t *testing.T) {
	in, err := decodeS3(t, request(t, "GET", "/b/k", "If-Modified-Since", "yesterday"), "")
	must(t, err)
	if got := in.(*s3.GetObjectInput).IfModifiedSince; got != nil {
		t.Errorf("got %v", got)
	}
}

func TestPutObjectGetsItsBodyItsLengthAndItsMetadata(t *testing.T) {
	r := request(t, "PUT", "/b/k", "X-Amz-Meta-Colour", "red", "x-amz-meta-colour", "blue", "X-Amz-Meta-A-B", "c", "Content-Type", "text/plain")
	in, err := decodeS3(t, r, "hello")
	must(t, err)
	got := in.(*s3.PutObjectInput)
	if _, ok := got.Body.(protocol.Body); !ok || string(readAll(t, got.Body)) != "hello" || *got.ContentLength != 5 {
		t.Errorf("body %T, length %v", got.Body, got.ContentLength)
	}
	if want := map[string]string{"colour": "red,blue", "a-b": "c"}; !reflect.DeepEqual(got.Metadata, want) {
		t.Errorf("metadata %v", got.Metadata)
	}
	if *got.ContentType != "text/plain" {
		t.Errorf("content type %v", got.ContentType)
	}
}

// brokenBody fails as a body does whose checksum is wrong.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error)   { return 0, b.err }
func (brokenBody) Size() int64                  { return -1 }
func (brokenBody) Checksums() map[string]string { return nil }

func TestABodysOwnErrorIsTheAnswer(t *testing.T) {
	bad := protocol.Errorf(400, "BadDigest", "wrong")
	api := apiOf(t, "s3")
	for _, err := range []error{bad, fmt.Errorf("connection: %w", io.ErrUnexpectedEOF)} {
		r := request(t, "POST", "/b?delete")
		op, routeErr := api.Route(r, nil)
		must(t, routeErr)
		if _, got := api.Decode(op, r, nil, brokenBody{err}); !errors.Is(got, err) {
			t.Errorf("got %v, want %v", got, err)
		}
	}
}
