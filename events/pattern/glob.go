package pattern

import "strings"

// parseWildcard parts a wildcard at its stars. A backslash takes the special meaning from a star or a backslash. Two
// stars in a row are refused, as EventBridge does.
func parseWildcard(text, path string) ([]string, error) {
	var parts []string
	var part strings.Builder
	star := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '*':
			if star {
				return nil, invalid("%s: two stars in a row", name(path))
			}
			parts = append(parts, part.String())
			part.Reset()
			star = true
			continue
		case '\\':
			if i+1 == len(text) || text[i+1] != '*' && text[i+1] != '\\' {
				return nil, invalid(`%s: a backslash stands before * or \ only`, name(path))
			}
			i++
			part.WriteByte(text[i])
		default:
			part.WriteByte(c)
		}
		star = false
	}
	return append(parts, part.String()), nil
}

// matchParts tells whether s is parts with anything between them. Taking each part as early as it comes is enough.
func matchParts(parts []string, s string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == first
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return strings.HasSuffix(s, last)
}

func parseGlob(text string) (*Pattern, error) {
	tokens := strings.Split(text, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return nil, invalid("a glob on the subject has no empty word: %q", text)
		case strings.ContainsAny(t, " \t\n\"{}[]"):
			return nil, invalid("%q is neither JSON nor a glob on the subject", text)
		case t == ">" && i < len(tokens)-1:
			return nil, invalid("> stands at the end of a glob only: %q", text)
		case t == ">":
			tokens[i] = "?*"
			tokens = append(tokens, "**")
		}
	}
	return &Pattern{glob: tokens}, nil
}

// matchTokens goes over words, remembering only the last ** for another try: no pattern makes it slow.
func matchTokens(glob, words []string) bool {
	g, w, backG, backW := 0, 0, -1, 0
	for w < len(words) {
		switch {
		case g < len(glob) && glob[g] == "**":
			backG, backW = g, w
			g++
		case g < len(glob) && matchWord(glob[g], words[w]):
			g, w = g+1, w+1
		case backG >= 0:
			backW++
			g, w = backG+1, backW
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == "**" {
		g++
	}
	return g == len(glob)
}

// matchWord is the same within a word, over its bytes.
func matchWord(glob, word string) bool {
	g, w, backG, backW := 0, 0, -1, 0
	for w < len(word) {
		switch {
		case g < len(glob) && glob[g] == '*':
			backG, backW = g, w
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == word[w]):
			g, w = g+1, w+1
		case backG >= 0:
			backW++
			g, w = backG+1, backW
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
