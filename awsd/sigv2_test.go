package awsd

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPresignedURLsOfVersion2(t *testing.T) {
	r := start(t, nil)
	expires := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
	presign := func(method, endpoint, path, resource string) string {
		mac := hmac.New(sha1.New, []byte(testSecret))
		mac.Write([]byte(method + "\n\n\n" + expires + "\n" + resource))
		return endpoint + path + "?AWSAccessKeyId=" + testKey + "&Expires=" + expires + "&Signature=" +
			url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	do := func(method, url, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.http(0).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	const path, stored = "/a%20b%2B%C3%A9", "mybucket/a b+é"
	for _, c := range []struct{ endpoint, prefix string }{{*r.endpoint(0, false), "/mybucket"}, {*r.endpoint(0, true), "/mybucket"},
		{"http://mybucket.s3.localhost", ""}, {"https://MyBucket.s3.localhost", ""}} {
		data := "by " + c.endpoint
		if status, text := do("PUT", presign("PUT", c.endpoint, c.prefix+path, "/mybucket"+path), data); status != 200 {
			t.Fatalf("%s: %d %s", c.endpoint, status, text)
		}
		if caller := <-r.memory.callers; caller.AccessKey != testKey || caller.Anonymous {
			t.Errorf("caller is %+v", caller)
		}
		r.memory.mu.Lock()
		if got := string(r.memory.objects[stored]); got != data {
			t.Errorf("stored %q, want %q", got, data)
		}
		r.memory.mu.Unlock()
		if status, text := do("GET", presign("GET", c.endpoint, c.prefix+path, "/mybucket"+path), ""); status != 200 || text != data {
			t.Errorf("%s: %d %s", c.endpoint, status, text)
		}
		if status, text := do("GET", presign("PUT", c.endpoint, c.prefix+path, "/mybucket"+path), ""); status != 403 || !strings.Contains(text, "SignatureDoesNotMatch") {
			t.Errorf("%s: another method: %d %s", c.endpoint, status, text)
		}
	}
	if status, text := do("GET", presign("GET", *r.endpoint(0, false), "/forbidden/k", "/forbidden/k"), ""); status != 403 || !strings.Contains(text, "AccessDenied") {
		t.Errorf("a policy is not asked: %d %s", status, text)
	}
	if strings.Contains(r.logs.String(), "Signature=") {
		t.Error("the log tells a presigned URL")
	}
}
