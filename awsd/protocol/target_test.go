package protocol_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"hive/awsd/protocol"
)

func targeted(t testing.TB, service, target, doc string) (any, error) {
	t.Helper()
	api, r := apiOf(t, service), request(t, "POST", "/")
	r.Header = http.Header{"X-Amz-Target": {target}}
	op, err := api.Route(r, nil)
	if err != nil {
		return nil, err
	}
	in, err := api.Decode(op, r, nil, newBody([]byte(doc)))
	if err != nil {
		return nil, err
	}
	return in, api.Validate(op, in)
}

func TestATargetNamesItsOperationWithOrWithoutANamespace(t *testing.T) {
	for _, target := range []string{"CloudTrail_20131101.LookupEvents", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"} {
		got, err := targeted(t, "cloudtrail", target, `{"StartTime":1.5e9,"EndTime":1600000000.25,"MaxResults":7,"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"RunInstances"}],"EventCategory":null,"Unknown":{}}`)
		must(t, err)
		in := got.(*cloudtrail.LookupEventsInput)
		if *in.MaxResults != 7 || in.StartTime.Unix() != 1_500_000_000 || in.EndTime.UnixMilli() != 1_600_000_000_250 ||
			in.LookupAttributes[0].AttributeKey != types.LookupAttributeKeyEventName {
			t.Errorf("got %+v", in)
		}
	}
	for _, doc := range []string{"", "{}"} {
		got, err := targeted(t, "cloudtrail", "CloudTrail_20131101.LookupEvents", doc)
		must(t, err)
		if d := got.(*cloudtrail.LookupEventsInput); d.MaxResults != nil || d.StartTime != nil {
			t.Errorf("%q: %+v", doc, d)
		}
	}
}

func TestABadTargetOrDocumentIsTheServicesOwnError(t *testing.T) {
	for name, c := range map[string]struct{ service, target, doc, code string }{
		"none":              {"cloudtrail", "", "{}", "UnknownOperationException"},
		"no operation":      {"cloudtrail", "CloudTrail_20131101.", "{}", "UnknownOperationException"},
		"another service":   {"cloudtrail", "ResourceGroupsTaggingAPI_20170126.GetResources", "{}", "UnknownOperationException"},
		"a longer name":     {"tagging", "XResourceGroupsTaggingAPI_20170126.GetResources", "{}", "UnknownOperationException"},
		"not JSON":          {"tagging", "ResourceGroupsTaggingAPI_20170126.GetResources", "Action=GetResources", "SerializationException"},
		"an array":          {"tagging", "ResourceGroupsTaggingAPI_20170126.GetResources", "[]", "SerializationException"},
		"a word as number":  {"tagging", "ResourceGroupsTaggingAPI_20170126.GetResources", `{"ResourcesPerPage":"7"}`, "SerializationException"},
		"a time as a word":  {"cloudtrail", "CloudTrail_20131101.LookupEvents", `{"StartTime":"yesterday"}`, "SerializationException"},
		"an object as list": {"cloudtrail", "CloudTrail_20131101.LookupEvents", `{"LookupAttributes":{}}`, "SerializationException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := targeted(t, c.service, c.target, c.doc)
			if d := wantError(err, 400, c.code, ""); d != "" {
				t.Error(d)
			}
		})
	}
	r := request(t, "GET", "/")
	r.Header = http.Header{"X-Amz-Target": {"CloudTrail_20131101.LookupEvents"}}
	if _, err := apiOf(t, "cloudtrail").Route(r, nil); err == nil {
		t.Error("a GET was routed")
	}
}

func TestAnswersOfAWSJSONAreDocumentsOfItsVersion(t *testing.T) {
	api := apiOf(t, "cloudtrail")
	w := httptest.NewRecorder()
	at := time.UnixMilli(1_600_000_000_250)
	must(t, api.Encode(w, api.Operation("LookupEvents"), "id", &cloudtrail.LookupEventsOutput{Events: []types.Event{{EventId: aws.String("e"), EventTime: &at}}}))
	if got := w.Body.String(); got != `{"Events":[{"EventId":"e","EventTime":1600000000.25}]}` || w.Header().Get("Content-Type") != "application/x-amz-json-1.1" ||
		w.Header().Get("X-Amzn-Requestid") != "id" {
		t.Errorf("%s %v", got, w.Header())
	}
	w = httptest.NewRecorder()
	must(t, api.Encode(w, api.Operation("AddTags"), "id", &cloudtrail.AddTagsOutput{}))
	if w.Body.String() != "{}" {
		t.Errorf("an empty answer is %q", w.Body)
	}
	w = httptest.NewRecorder()
	api.EncodeError(w, request(t, "POST", "/"), "id", protocol.Errorf(400, "InvalidTimeRangeException", "no"))
	if w.Code != 400 || w.Body.String() != `{"__type":"InvalidTimeRangeException","message":"no"}` || w.Header().Get("X-Amzn-Errortype") != "InvalidTimeRangeException" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}
