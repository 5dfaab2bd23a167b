package node

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"hive/internal/seal"
)

func TestSecretsOfNATSAreSealedInTheSettings(t *testing.T) {
	box, err := seal.New(bytes.Repeat([]byte{1}, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{box: box}
	for text, want := range map[string]string{
		"": "", "nats://h:4222": "nats://h:4222", "tls://me:s3cr3t@h:4222": "tls://me:xxxxx@h:4222", "nats://s3cr3t@h": "nats://xxxxx@h",
	} {
		kept, err := n.sealURL(text)
		if err != nil || strings.Contains(kept, "s3cr3t") {
			t.Errorf("%q is kept as %q, %v", text, kept, err)
		}
		if again, err := n.sealURL(kept); err != nil || again != kept { // by a change of another setting
			t.Errorf("%q, then %q, %v", kept, again, err)
		}
		if shown, err := n.shownURL(kept); err != nil || shown != want {
			t.Errorf("%q is shown as %q, %v", text, shown, err)
		}
		if opened, err := n.openURL(kept); err != nil || opened != text {
			t.Errorf("%q is opened as %q, %v", text, opened, err)
		}
	}
}
