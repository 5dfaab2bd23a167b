package protocol_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hive/awsd/protocol"
)

// seedSnapshots adds the payloads of some of the SDK's request snapshots.
func seedSnapshots(f *testing.F, service string, operations ...string) {
	f.Helper()
	dir := filepath.Join(moduleDir(f, service), "request_snapshot")
	for _, op := range operations {
		data, err := os.ReadFile(filepath.Join(dir, op+".request.snap"))
		must(f, err)
		_, payload, err := parseSnapshot(string(data))
		must(f, err)
		f.Add(string(payload))
	}
}

// ownError fails unless err is nil or an answer that a client can be given.
func ownError(t *testing.T, err error) {
	t.Helper()
	var e *protocol.Error
	if err == nil {
		return
	}
	if !errors.As(err, &e) || e.Code == "" || e.Status < 400 || e.Status > 599 {
		t.Fatalf("not an answer: %v", err)
	}
}

func fuzzQuery(f *testing.F, service string) {
	api := apiOf(f, service)
	f.Fuzz(func(t *testing.T, payload string) {
		form, err := url.ParseQuery(payload)
		if err != nil {
			return
		}
		r := request(t, "POST", "/")
		op, err := api.Route(r, form)
		if err != nil {
			ownError(t, err)
			return
		}
		in, err := api.Decode(op, r, form, nil)
		if err == nil {
			err = api.Validate(op, in)
		}
		ownError(t, err)
	})
}

func FuzzEC2Query(f *testing.F) {
	seedSnapshots(f, "ec2", "RunInstances", "DescribeInstances", "CreateFleet", "AuthorizeSecurityGroupIngress", "CreateTags")
	f.Add("Action=DescribeInstances&Filter.2000000000.Name=x&Filter.1.Value.1=a&Filter..1=&.=&InstanceId=")
	fuzzQuery(f, "ec2")
}

func FuzzAWSQuery(f *testing.F) {
	seedSnapshots(f, "iam", "CreateUser", "CreateRole", "SimulateCustomPolicy", "GenerateOrganizationsAccessReport")
	f.Add("Action=CreateUser&UserName=u&Tags.member.1.Key=k&Tags.member.1=x&Tags.entry.1.key=k")
	fuzzQuery(f, "iam")
}

func FuzzRESTJSON(f *testing.F) {
	f.Add("POST", "/snapshots", `{"VolumeSize":1,"Description":"d","Tags":[{"Key":"k","Value":"v"}],"ClientToken":"c"}`)
	f.Add("POST", "/snapshots", `{"VolumeSize":1e400,"Tags":[null,{"Key":1}],"Tags":{}}`)
	f.Add("PUT", "/snapshots/%zz/blocks/-1?x&x", "")
	f.Add("GET", "/snapshots/snap-0/blocks?maxResults=x&pageToken=%", "")
	f.Add("POST", "/snapshots", strings.Repeat(`[`, 20_000))
	api := apiOf(f, "ebs")
	f.Fuzz(func(t *testing.T, method, target, payload string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"X-Amz-Data-Length": {payload}}}
		op, err := api.Route(r, nil)
		if err != nil {
			ownError(t, err)
			return
		}
		in, err := api.Decode(op, r, nil, newBody([]byte(payload)))
		if err == nil {
			err = api.Validate(op, in)
		}
		ownError(t, err)
	})
}

func FuzzAWSJSON(f *testing.F) {
	f.Add("CloudTrail_20131101.LookupEvents", `{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"RunInstances"}],"StartTime":1.5e9,"MaxResults":50}`)
	f.Add("x.CloudTrail_20131101.CreateTrail", `{"Name":"n","TagsList":[{"Key":"k"}],"S3BucketName":null}`)
	f.Add("CloudTrail_20131101.", "")
	api := apiOf(f, "cloudtrail")
	f.Fuzz(func(t *testing.T, target, payload string) {
		r := request(t, "POST", "/")
		r.Header = http.Header{"X-Amz-Target": {target}}
		op, err := api.Route(r, nil)
		if err != nil {
			ownError(t, err)
			return
		}
		in, err := api.Decode(op, r, nil, newBody([]byte(payload)))
		if err == nil {
			err = api.Validate(op, in)
		}
		ownError(t, err)
	})
}

func FuzzRESTXML(f *testing.F) {
	targets := []string{"/b?delete", "/b?lifecycle", "/b?acl", "/b?metrics&id=1", "/b?replication", "/b/k?uploadId=u", "/b/k?select&select-type=2", "/b/k?encryption"}
	seedSnapshots(f, "s3", "DeleteObjects", "PutBucketLifecycleConfiguration", "PutBucketAcl", "PutBucketMetricsConfiguration",
		"PutBucketReplication", "CompleteMultipartUpload", "UpdateObjectEncryption")
	f.Add(`<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>`)
	api := apiOf(f, "s3")
	f.Fuzz(func(t *testing.T, payload string) {
		for _, target := range targets {
			for _, method := range []string{"PUT", "POST"} {
				r := request(t, method, target)
				op, err := api.Route(r, nil)
				if err != nil {
					ownError(t, err)
					continue
				}
				_, err = api.Decode(op, r, nil, newBody([]byte(payload)))
				ownError(t, err)
			}
		}
	})
}

func FuzzS3Router(f *testing.F) {
	for _, s := range []string{"/b/k?acl", "/", "/b//k%2F?list-type=2&prefix=%00", "/b/k?uploadId=u&partNumber=1", "/b?x&y&z", "//?&&=&a=%", "/%", "/b/\xff"} {
		f.Add("GET", s, "")
		f.Add("PUT", s, "/b/other")
	}
	api := apiOf(f, "s3")
	f.Fuzz(func(t *testing.T, method, target, source string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{}}
		if source != "" {
			r.Header["X-Amz-Copy-Source"] = []string{source}
		}
		op, err := api.Route(r, nil)
		if err != nil {
			ownError(t, err)
			return
		}
		if op.Method != method {
			t.Fatalf("%s %s was routed to %s", method, target, op.Name)
		}
		_, err = api.Decode(op, r, nil, newBody(nil))
		ownError(t, err)
		if copies := strings.Contains(op.Name, "Copy"); copies && source == "" {
			t.Fatalf("%s without a source", op.Name)
		}
	})
}
