package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestEveryOperatorIsRead(t *testing.T) {
	for op := range operators {
		value := map[byte]string{'S': "x", 'N': "1", 'D': "2024-01-01", 'B': "true", 'I': "10.0.0.0/8", 'A': "arn:aws:iam::*:user/*"}[op[0]]
		switch op {
		case "NotIpAddress":
			value = "::/0"
		case "BinaryEquals":
			value = "eA=="
		case "Null":
			value = "false"
		}
		parse(t, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+op+`":{"aws:username":"`+value+`"}}}`), Identity)
	}
}

// Whatever is read can be evaluated, and an allow never comes out of a document without "Allow".
func FuzzParse(f *testing.F) {
	f.Add(document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"}`), "s3:GetObject", "arn:aws:s3:::b/Alice/k")
	f.Add(document(`{"Sid":"x","Effect":"Deny","NotAction":["s3:Get?"],"NotResource":"*","Condition":{"ForAllValues:StringLikeIfExists":{"s3:prefix":["a*","${aws:userid, 'x'}"]}}}`), "s3:ListBucket", "*")
	f.Add(document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"DateLessThan":{"aws:CurrentTime":1}}}`), "a:b", "")
	f.Fuzz(func(t *testing.T, text, action, resource string) {
		doc, err := Parse([]byte(text), Identity)
		if err != nil {
			if bad := (*MalformedError)(nil); !errors.As(err, &bad) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		got := Evaluate([]*Document{doc}, &Request{Action: action, Resource: resource, Caller: alice(), Now: now})
		if got.Effect == Allow && !strings.Contains(text, "Allow") && !strings.Contains(text, `\u`) {
			t.Errorf("%q allowed", text)
		}
	})
}
