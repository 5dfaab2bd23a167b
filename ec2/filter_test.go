package ec2

import (
	"strings"
	"testing"
)

func TestWildcardsMatchAsInEC2(t *testing.T) {
	for _, x := range []struct {
		pattern, value string
		want           bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "A", false}, {"*", "", true}, {"*", "anything", true},
		{"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abbbc", true}, {"a*c", "abbbd", false}, {"*b*", "abc", true},
		{"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"a?c", "abc", true}, {"??", "日本", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`\?`, "?", true}, {`a\*b*`, "a*bcd", true}, {`\\`, `\`, true}, {`a\`, `a\`, true},
		{`*\*x`, "ab*x", true}, {`*\*x`, "abx", false}, {"*a*a*a*a*b", strings.Repeat("a", 2000), false},
	} {
		if got := wildcard(x.pattern, x.value); got != x.want {
			t.Errorf("%q against %q: %t", x.pattern, x.value, got)
		}
	}
}
