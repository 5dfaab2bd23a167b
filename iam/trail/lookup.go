package trail

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// maxLookup is how many events an answer has at most, as in CloudTrail.
const maxLookup = 50

// maxSeen bounds how many events one call looks at; the next page goes on after them.
const maxSeen = 20_000

func bad(code, format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, code, format, args...)
}

// LookupEvents lists the account's events that match, newest first.
// Source: LookupEvents, AWS CloudTrail API reference.
func (t *Trail) LookupEvents(ctx context.Context, c *principal.Caller, in *cloudtrail.LookupEventsInput) (*cloudtrail.LookupEventsOutput, error) {
	matches, err := matcher(in)
	if err != nil {
		return nil, err
	}
	limit := maxLookup
	if in.MaxResults != nil {
		if *in.MaxResults < 1 || *in.MaxResults > maxLookup {
			return nil, bad("InvalidMaxResultsException", "The maximum number of results must be between 1 and %d.", maxLookup)
		}
		limit = int(*in.MaxResults)
	}
	if err := t.cfg.Group.ReadIndex(ctx); err != nil {
		return nil, err
	}
	out := &cloudtrail.LookupEventsOutput{Events: []types.Event{}}
	err = t.cfg.Group.View(func(v *fsm.View) error {
		seen := 0
		last := ""
		for key, e := range fsm.AuditEvents(v, fsm.AccountID(c.Account), aws.ToString(in.NextToken)) {
			if len(out.Events) == limit || seen == maxSeen {
				out.NextToken = &last
				return nil
			}
			seen, last = seen+1, key
			if matches(&e) {
				out.Events = append(out.Events, t.out(&e))
			}
		}
		return nil
	})
	return out, err
}

// matcher is the test of a request's attribute and times.
func matcher(in *cloudtrail.LookupEventsInput) (func(*fsm.AuditEvent) bool, error) {
	if in.StartTime != nil && in.EndTime != nil && in.EndTime.Before(*in.StartTime) {
		return nil, bad("InvalidTimeRangeException", "The start time must not be after the end time.")
	}
	if in.EventCategory != "" {
		return func(*fsm.AuditEvent) bool { return false }, nil // Insights events: none are made
	}
	if len(in.LookupAttributes) > 1 {
		return nil, bad("InvalidLookupAttributesException", "Only one lookup attribute can be specified.")
	}
	attribute := func(*fsm.AuditEvent) bool { return true }
	for _, a := range in.LookupAttributes {
		value := aws.ToString(a.AttributeValue)
		test := attributes[a.AttributeKey]
		if test == nil || value == "" {
			return nil, bad("InvalidLookupAttributesException", "The lookup attribute %q is not valid.", a.AttributeKey)
		}
		attribute = func(e *fsm.AuditEvent) bool { return test(e, value) }
	}
	return func(e *fsm.AuditEvent) bool {
		at := time.UnixMilli(e.Time)
		return (in.StartTime == nil || !at.Before(*in.StartTime)) && (in.EndTime == nil || !at.After(*in.EndTime)) && attribute(e)
	}, nil
}

var attributes = map[types.LookupAttributeKey]func(*fsm.AuditEvent, string) bool{
	types.LookupAttributeKeyEventId:     func(e *fsm.AuditEvent, v string) bool { return e.ID == v },
	types.LookupAttributeKeyEventName:   func(e *fsm.AuditEvent, v string) bool { return e.Name == v },
	types.LookupAttributeKeyReadOnly:    func(_ *fsm.AuditEvent, v string) bool { return v == "false" },
	types.LookupAttributeKeyUsername:    func(e *fsm.AuditEvent, v string) bool { return userOf(e) == v },
	types.LookupAttributeKeyEventSource: func(e *fsm.AuditEvent, v string) bool { return e.Source == v },
	types.LookupAttributeKeyAccessKeyId: func(e *fsm.AuditEvent, v string) bool { return e.AccessKey == v },
	types.LookupAttributeKeyResourceType: func(e *fsm.AuditEvent, v string) bool {
		return slices.ContainsFunc(e.Resources, func(r fsm.AuditTarget) bool { return r.Type == v })
	},
	types.LookupAttributeKeyResourceName: func(e *fsm.AuditEvent, v string) bool {
		return slices.ContainsFunc(e.Resources, func(r fsm.AuditTarget) bool { return r.Name == v })
	},
}

// userOf is the name that CloudTrail calls a caller by.
func userOf(e *fsm.AuditEvent) string {
	if e.Type == "Root" {
		return "root"
	}
	return e.UserName
}

func (t *Trail) out(e *fsm.AuditEvent) types.Event {
	event := types.Event{
		EventId: &e.ID, EventName: &e.Name, EventSource: &e.Source, EventTime: aws.Time(time.UnixMilli(e.Time).UTC()),
		ReadOnly: aws.String("false"), Username: aws.String(userOf(e)), CloudTrailEvent: aws.String(string(JSON(e, t.cfg.Region))),
	}
	if e.AccessKey != "" {
		event.AccessKeyId = &e.AccessKey
	}
	for _, r := range e.Resources {
		event.Resources = append(event.Resources, types.Resource{ResourceName: aws.String(r.Name), ResourceType: aws.String(r.Type)})
	}
	return event
}

// JSON is an event as CloudTrail writes it. Source: "CloudTrail record contents".
func JSON(e *fsm.AuditEvent, region string) []byte {
	identity := map[string]any{"type": e.Type, "principalId": e.PrincipalID, "arn": e.Principal, "accountId": e.Account}
	set(identity, "accessKeyId", e.AccessKey)
	if e.Type == "IAMUser" {
		set(identity, "userName", e.UserName)
	}
	if e.Issuer != "" || e.MFA {
		identity["sessionContext"] = map[string]any{
			"sessionIssuer": map[string]any{"arn": e.Issuer, "accountId": e.Account},
			"attributes":    map[string]any{"mfaAuthenticated": strconv.FormatBool(e.MFA)},
		}
	}
	record := map[string]any{
		"eventVersion": "1.09", "userIdentity": identity, "eventTime": time.UnixMilli(e.Time).UTC().Format(time.RFC3339),
		"eventSource": e.Source, "eventName": e.Name, "awsRegion": region, "sourceIPAddress": e.SourceIP, "userAgent": e.UserAgent,
		"requestParameters": raw(e.Parameters), "responseElements": raw(e.Response), "requestID": e.RequestID, "eventID": e.ID,
		"readOnly": false, "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": e.Account, "eventCategory": "Management",
		"additionalEventData": map[string]any{"node": e.Node, "raftIndex": e.Index},
	}
	if e.Code != "" {
		record["errorCode"], record["errorMessage"] = e.Code, e.Message
	}
	if len(e.Resources) > 0 {
		var resources []map[string]string
		for _, r := range e.Resources {
			resources = append(resources, map[string]string{"type": r.Type, "name": r.Name})
		}
		record["resources"] = resources
	}
	out, err := json.Marshal(record)
	if err != nil {
		return []byte("{}") // cannot be: there is nothing in it but texts, numbers and valid JSON
	}
	return out
}

func set(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func raw(b []byte) any {
	if !json.Valid(b) {
		return nil
	}
	return json.RawMessage(b)
}
