package protocol_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"hive/awsd/protocol"
)

func decodeJSON(t testing.TB, method, target, doc string) (any, error) {
	t.Helper()
	api, r := apiOf(t, "ebs"), request(t, method, target)
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

func TestABadJSONRequestIsTheServicesOwnError(t *testing.T) {
	for name, c := range map[string]struct {
		method, target, doc string
		status              int
		code, fragment      string
	}{
		"no such path":        {"GET", "/volumes", "", 404, "UnknownOperationException", ""},
		"empty label":         {"GET", "/snapshots//blocks", "", 404, "UnknownOperationException", ""},
		"slash at the end":    {"POST", "/snapshots/", "{}", 404, "UnknownOperationException", ""},
		"not JSON":            {"POST", "/snapshots", "VolumeSize=1", 400, "SerializationException", ""},
		"cut short":           {"POST", "/snapshots", `{"VolumeSize":1`, 400, "SerializationException", ""},
		"two documents":       {"POST", "/snapshots", `{"VolumeSize":1}{}`, 400, "SerializationException", ""},
		"an array":            {"POST", "/snapshots", `[1]`, 400, "SerializationException", ""},
		"deep":                {"POST", "/snapshots", strings.Repeat("[", 20_000), 400, "SerializationException", ""},
		"no body":             {"POST", "/snapshots", "", 400, "ValidationException", "volumeSize"},
		"required and absent": {"POST", "/snapshots", `{}`, 400, "ValidationException", "volumeSize"},
		"required and null":   {"POST", "/snapshots", `{"VolumeSize":null}`, 400, "ValidationException", "volumeSize"},
		"a string as number":  {"POST", "/snapshots", `{"VolumeSize":"1"}`, 400, "ValidationException", "64 bits"},
		"a fraction":          {"POST", "/snapshots", `{"VolumeSize":1.5}`, 400, "ValidationException", "64 bits"},
		"a number as string":  {"POST", "/snapshots", `{"VolumeSize":1,"Description":7}`, 400, "ValidationException", "description"},
		"tags that are none":  {"POST", "/snapshots", `{"VolumeSize":1,"Tags":"a"}`, 400, "SerializationException", "Tags"},
		"header absent":       {"POST", "/snapshots/completion/snap-0", "", 400, "ValidationException", "x-amz-changedblockscount"},
		"a word as index":     {"GET", "/snapshots/snap-0/blocks/one?blockToken=t", "", 400, "ValidationException", "32 bits"},
		"a word as limit":     {"GET", "/snapshots/snap-0/blocks?maxResults=all", "", 400, "ValidationException", "32 bits"},
		"path is no UTF-8":    {"GET", "/snapshots/%ff/blocks", "", 400, "SerializationException", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeJSON(t, c.method, c.target, c.doc)
			if d := wantError(err, c.status, c.code, c.fragment); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAJSONRequestIsReadAndStrangersAreOverlooked(t *testing.T) {
	in, err := decodeJSON(t, "POST", "/snapshots?x=1", `{"VolumeSize":8,"Colour":"red","Description":null,"Tags":[{"Key":"k"}]}`)
	must(t, err)
	got := in.(*ebs.StartSnapshotInput)
	if *got.VolumeSize != 8 || got.Description != nil || len(got.Tags) != 1 || *got.Tags[0].Key != "k" || got.Tags[0].Value != nil {
		t.Errorf("%+v", got)
	}
	in, err = decodeJSON(t, "GET", "/snapshots/snap-0a/blocks/7?blockToken=a%2Bb", "")
	must(t, err)
	if got := in.(*ebs.GetSnapshotBlockInput); *got.SnapshotId != "snap-0a" || *got.BlockIndex != 7 || *got.BlockToken != "a+b" {
		t.Errorf("%+v", got)
	}
}

func TestAJSONAnswerIsWhatAWSWrites(t *testing.T) {
	w := encode(t, "ebs", "ListSnapshotBlocks", &ebs.ListSnapshotBlocksOutput{
		Blocks: []ebstypes.Block{{BlockIndex: aws.Int32(0), BlockToken: aws.String(`a"<`)}}, BlockSize: aws.Int32(524288),
		ExpiryTime: aws.Time(time.Unix(1700000000, 5e8)),
	})
	want := `{"Blocks":[{"BlockIndex":0,"BlockToken":"a\"\u003c"}],"ExpiryTime":1700000000.5,"BlockSize":524288}`
	if w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Amzn-Requestid") == "" {
		t.Errorf("%s, %v", w.Body, w.Header())
	}
	r := httptest.NewRecorder()
	e := protocol.Errorf(http.StatusNotFound, "ResourceNotFoundException", "none")
	e.Fields = []protocol.Field{{Name: "Reason", Value: "SNAPSHOT_NOT_FOUND"}}
	apiOf(t, "ebs").EncodeError(r, httptest.NewRequest("GET", "/", nil), "id", e)
	want = `{"__type":"ResourceNotFoundException","Message":"none","Reason":"SNAPSHOT_NOT_FOUND"}`
	if r.Body.String() != want || r.Header().Get("X-Amzn-Errortype") != e.Code || r.Code != 404 {
		t.Errorf("%s, %v", r.Body, r.Header())
	}
}
