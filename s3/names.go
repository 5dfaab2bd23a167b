package s3

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"hive/fsm"
)

const maxKey = 1024 // bytes

// bucketName checks a bucket's name. Source: "General purpose buckets naming rules", Amazon S3 User
// Guide.
func bucketName(name *string) (fsm.BucketName, error) {
	if name == nil || !validBucketName(*name) {
		var got string
		if name != nil {
			got = *name
		}
		return "", invalidBucketName.with("BucketName", got)
	}
	return fsm.BucketName(*name), nil
}

func validBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case isLowerOrDigit(c):
		case c == '-' && i > 0 && i < len(name)-1:
		case c == '.' && i > 0 && i < len(name)-1 && name[i-1] != '.':
		default:
			return false
		}
	}
	return !reservedBucketName(name)
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func reservedBucketName(name string) bool {
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Is4()
}

// checkKey refuses keys that are empty, too long, or not text. Source: "Naming Amazon S3 objects".
func checkKey(key *string) error {
	switch {
	case key == nil || *key == "":
		return invalidArgument.says("The object key must not be empty.", "ArgumentName", "Key")
	case len(*key) > maxKey:
		return keyTooLong.with("MaxSizeAllowed", "1024")
	case !utf8.ValidString(*key):
		return invalidArgument.says("The object key must be UTF-8.", "ArgumentName", "Key")
	case strings.IndexByte(*key, 0) >= 0:
		return invalidArgument.says("The object key must not contain a zero byte.", "ArgumentName", "Key")
	}
	return nil
}
