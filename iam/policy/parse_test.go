package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestDocumentsThatAreNotUnderstoodAreRefused(t *testing.T) {
	st := func(body string) string { return `{"Version":"2012-10-17","Statement":[{` + body + `}]}` }
	ok := `"Effect":"Allow","Action":"s3:*","Resource":"*"`
	for name, text := range map[string]string{
		"empty":                      ``,
		"not JSON":                   `{`,
		"a list":                     `[]`,
		"a string":                   `"x"`,
		"null":                       `null`,
		"trailing":                   st(ok) + `{}`,
		"trailing text":              st(ok) + `x`,
		"not UTF-8":                  "{\"Version\":\"2012-10-17\",\"Id\":\"\xff\",\"Statement\":[{" + ok + "}]}",
		"no statement":               `{"Version":"2012-10-17"}`,
		"statement of none":          `{"Version":"2012-10-17","Statement":[]}`,
		"statement a string":         `{"Version":"2012-10-17","Statement":"x"}`,
		"statement null":             `{"Version":"2012-10-17","Statement":null}`,
		"list in list":               `{"Version":"2012-10-17","Statement":[[{` + ok + `}]]}`,
		"version of the future":      `{"Version":"2030-01-01","Statement":[{` + ok + `}]}`,
		"version a number":           `{"Version":2012,"Statement":[{` + ok + `}]}`,
		"id a number":                `{"Id":1,"Statement":[{` + ok + `}]}`,
		"unknown element":            `{"Version":"2012-10-17","Extra":1,"Statement":[{` + ok + `}]}`,
		"element in another case":    `{"version":"2012-10-17","Statement":[{` + ok + `}]}`,
		"unknown in statement":       st(ok + `,"Extra":"x"`),
		"principal":                  st(ok + `,"Principal":"*"`),
		"not principal":              st(ok + `,"NotPrincipal":"*"`),
		"name twice":                 st(ok + `,"Effect":"Deny"`),
		"name twice at top":          `{"Statement":[{` + ok + `}],"Statement":[{` + ok + `}]}`,
		"no effect":                  st(`"Action":"s3:*","Resource":"*"`),
		"effect in another case":     st(`"Effect":"allow","Action":"s3:*","Resource":"*"`),
		"effect a list":              st(`"Effect":["Allow"],"Action":"s3:*","Resource":"*"`),
		"no action":                  st(`"Effect":"Allow","Resource":"*"`),
		"no actions":                 st(`"Effect":"Allow","Action":[],"Resource":"*"`),
		"action and not action":      st(ok + `,"NotAction":"s3:*"`),
		"action a number":            st(`"Effect":"Allow","Action":1,"Resource":"*"`),
		"action a list of numbers":   st(`"Effect":"Allow","Action":[1],"Resource":"*"`),
		"action an object":           st(`"Effect":"Allow","Action":{},"Resource":"*"`),
		"action null":                st(`"Effect":"Allow","Action":null,"Resource":"*"`),
		"action without vendor":      st(`"Effect":"Allow","Action":"GetObject","Resource":"*"`),
		"action of an empty vendor":  st(`"Effect":"Allow","Action":":GetObject","Resource":"*"`),
		"action without name":        st(`"Effect":"Allow","Action":"s3:","Resource":"*"`),
		"action with a wild vendor":  st(`"Effect":"Allow","Action":"s*:Get","Resource":"*"`),
		"action with a space":        st(`"Effect":"Allow","Action":"s3:Get Object","Resource":"*"`),
		"action with two colons":     st(`"Effect":"Allow","Action":"s3:Get:Object","Resource":"*"`),
		"action empty":               st(`"Effect":"Allow","Action":"","Resource":"*"`),
		"no resource":                st(`"Effect":"Allow","Action":"s3:*"`),
		"no resources":               st(`"Effect":"Allow","Action":"s3:*","Resource":[]`),
		"resource and not resource":  st(ok + `,"NotResource":"*"`),
		"resource not an ARN":        st(`"Effect":"Allow","Action":"s3:*","Resource":"bucket"`),
		"resource empty":             st(`"Effect":"Allow","Action":"s3:*","Resource":""`),
		"resource too short":         st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws"`),
		"resource of no partition":   st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:hive:s3:::b"`),
		"resource of a wild service": st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s*:::b"`),
		"resource of no service":     st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws::::b"`),
		"variable in the account":    st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3::${aws:PrincipalAccount}:b"`),
		"variable without end":       st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username"`),
		"variable not known":         st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:user}"`),
		"variable without name":      st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${}"`),
		"default without quotes":     st(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username, x}"`),
		"sid with a space":           st(ok + `,"Sid":"a b"`),
		"sid a number":               st(ok + `,"Sid":1`),
		"sid twice":                  `{"Statement":[{"Sid":"a",` + ok + `},{"Sid":"a",` + ok + `}]}`,
		"condition a list":           st(ok + `,"Condition":[]`),
		"condition a string":         st(ok + `,"Condition":"x"`),
		"operator not known":         st(ok + `,"Condition":{"StringSortOf":{"aws:username":"x"}}`),
		"operator in another case":   st(ok + `,"Condition":{"stringequals":{"aws:username":"x"}}`),
		"binary not in base64":       st(ok + `,"Condition":{"BinaryEquals":{"aws:username":"x"}}`),
		"quantifier not known":       st(ok + `,"Condition":{"ForNoValue:StringEquals":{"aws:username":"x"}}`),
		"null if exists":             st(ok + `,"Condition":{"NullIfExists":{"aws:username":"true"}}`),
		"quantified null":            st(ok + `,"Condition":{"ForAnyValue:Null":{"aws:username":"true"}}`),
		"operator of a string":       st(ok + `,"Condition":{"StringEquals":"x"}`),
		"key not known":              st(ok + `,"Condition":{"StringEquals":{"ec2:Planet":"x"}}`),
		"tag key without a name":     st(ok + `,"Condition":{"StringEquals":{"aws:PrincipalTag/":"x"}}`),
		"key of no values":           st(ok + `,"Condition":{"StringEquals":{"aws:username":[]}}`),
		"value an object":            st(ok + `,"Condition":{"StringEquals":{"aws:username":{}}}`),
		"value null":                 st(ok + `,"Condition":{"StringEquals":{"aws:username":null}}`),
		"number not one":             st(ok + `,"Condition":{"NumericEquals":{"s3:max-keys":"ten"}}`),
		"number in hex":              st(ok + `,"Condition":{"NumericEquals":{"s3:max-keys":"0x10"}}`),
		"number a variable":          st(ok + `,"Condition":{"NumericEquals":{"s3:max-keys":"${aws:username}"}}`),
		"date not one":               st(ok + `,"Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`),
		"bool not one":               st(ok + `,"Condition":{"Bool":{"aws:SecureTransport":"yes"}}`),
		"null not one":               st(ok + `,"Condition":{"Null":{"aws:username":"x"}}`),
		"address not one":            st(ok + `,"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/33"}}`),
		"address with a zone":        st(ok + `,"Condition":{"IpAddress":{"aws:SourceIp":"fe80::1%eth0"}}`),
		"ARN not one":                st(ok + `,"Condition":{"ArnLike":{"aws:PrincipalArn":"x"}}`),
		"ARN too short":              st(ok + `,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*Alice"}}`),
		"too deep":                   st(ok + `,"Condition":` + strings.Repeat(`{"a":`, 50) + `1` + strings.Repeat(`}`, 50)),
		"endless depth":              strings.Repeat(`[`, 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(text), Identity)
			if bad := (*MalformedError)(nil); !errors.As(err, &bad) || bad.Message == "" || doc != nil {
				t.Errorf("%v, %v", doc, err)
			}
		})
	}
}

func TestDocumentsInEveryLegalShapeAreRead(t *testing.T) {
	for _, text := range []string{
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		`{"Version":"2012-10-17","Id":"x y","Statement":[{"Sid":"","Effect":"Allow","Action":["*"],"Resource":["*"]}]}`,
		" \r\n\t{\"Statement\" : [ { \"Effect\":\"Deny\", \"NotAction\":\"iam:*\", \"NotResource\":\"*\" } ] } \n",
		`{"Version":"2008-10-17","Statement":[{"Sid":"A1","Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"A2","Effect":"Deny","Action":"s3:*","Resource":"*"}]}`,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}]}`,
		`{"Statement":[{"Effect":"Allow","Action":"access-analyzer:List*","Resource":"arn:aws:access-analyzer:*:*:*"}]}`,
		`{"Statement":[{"Sid":"","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"","Effect":"Allow","Action":"*","Resource":"*"}]}`,
	} {
		parse(t, text)
	}
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
		parse(t, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+op+`":{"aws:username":"`+value+`"}}}`))
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
