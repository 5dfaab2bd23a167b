package s3

import (
	"crypto/sha1" //nolint:gosec // a checksum that S3 offers, not a signature
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"

	"hive/fsm"
)

// The numbers of fsm.Checksum.Alg.
const (
	algCRC32 = 1 + iota
	algCRC32C
	algCRC64NVME
	algSHA1
	algSHA256
)

// algorithm is what S3 calls a checksum.
type algorithm struct {
	alg       uint8
	suffix    string // of the header x-amz-checksum-…
	name      types.ChecksumAlgorithm
	new       func() hash.Hash
	poly      uint64 // reversed, for a CRC, else 0
	composite bool   // what an upload in parts has when it does not say
}

var algorithms = []algorithm{
	{algCRC32, "crc32", types.ChecksumAlgorithmCrc32, func() hash.Hash { return crc32.NewIEEE() }, crc32.IEEE, true},
	{algCRC32C, "crc32c", types.ChecksumAlgorithmCrc32c, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }, crc32.Castagnoli, true},
	{algCRC64NVME, "crc64nvme", types.ChecksumAlgorithmCrc64nvme, func() hash.Hash { return crc64nvme.New() }, 0x9a6c9329ac4bc9b5, false},
	{algSHA1, "sha1", types.ChecksumAlgorithmSha1, sha1.New, 0, true},
	{algSHA256, "sha256", types.ChecksumAlgorithmSha256, sha256.New, 0, true},
}

// algorithmOf is the row of a checksum; nil when there is none.
func algorithmOf(alg uint8) *algorithm {
	if alg == 0 || int(alg) > len(algorithms) {
		return nil
	}
	return &algorithms[alg-1]
}

// algorithmNamed finds what a client asks for; nil without error when it asks for none.
func algorithmNamed(name types.ChecksumAlgorithm) (*algorithm, error) {
	if name == "" {
		return nil, nil
	}
	for i := range algorithms {
		if algorithms[i].name == name {
			return &algorithms[i], nil
		}
	}
	return nil, invalidRequest.says("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
}

// keptSum is the checksum to keep of those that were verified while a body was read.
func keptSum(verified map[string]string) fsm.Checksum {
	for i := range algorithms {
		if text, ok := verified[algorithms[i].suffix]; ok {
			if sum, err := base64.StdEncoding.DecodeString(text); err == nil {
				return fsm.Checksum{Alg: algorithms[i].alg, Sum: sum}
			}
		}
	}
	return fsm.Checksum{}
}

// sums are the members that every output with checksums has.
type sums struct {
	CRC32, CRC32C, CRC64NVME, SHA1, SHA256 *string

	Type types.ChecksumType
}

// sumsOf renders a checksum; parts is the number of parts that a composite one is of.
func sumsOf(c fsm.Checksum, parts int) sums {
	var out sums
	if len(c.Sum) == 0 {
		return out
	}
	text := base64.StdEncoding.EncodeToString(c.Sum)
	out.Type = types.ChecksumTypeFullObject
	if c.Composite {
		out.Type = types.ChecksumTypeComposite
		text += "-" + strconv.Itoa(parts)
	}
	switch c.Alg {
	case algCRC32:
		out.CRC32 = &text
	case algCRC32C:
		out.CRC32C = &text
	case algCRC64NVME:
		out.CRC64NVME = &text
	case algSHA1:
		out.SHA1 = &text
	case algSHA256:
		out.SHA256 = &text
	}
	return out
}

// text is the given one of algorithm a, "" when it was not given.
func (s sums) text(a *algorithm) string {
	return aws.ToString([]*string{s.CRC32, s.CRC32C, s.CRC64NVME, s.SHA1, s.SHA256}[a.alg-1])
}

func namesOf(c fsm.Checksum) []types.ChecksumAlgorithm {
	if a := algorithmOf(c.Alg); a != nil {
		return []types.ChecksumAlgorithm{a.name}
	}
	return nil
}

func typeOf(c fsm.Checksum) types.ChecksumType {
	switch {
	case c.Alg == 0:
		return ""
	case c.Composite:
		return types.ChecksumTypeComposite
	}
	return types.ChecksumTypeFullObject
}
