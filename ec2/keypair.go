package ec2

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // AWS's fingerprint of an imported RSA key
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // AWS's fingerprint of a created RSA key
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	maxKeyName   = 255
	maxPublicKey = 16 << 10 // bytes of an imported key
	rsaBits      = 2048
)

func noKeyPair(name string) *protocol.Error {
	return bad("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
}

func keyName(name *string) (string, error) {
	n := aws.ToString(name)
	switch {
	case n == "":
		return "", missing("KeyName")
	case len(n) > maxKeyName || strings.ContainsFunc(n, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(n) != n:
		return "", invalid("Value for parameter KeyName is invalid. It must be 1 to %d ASCII characters, without spaces at its ends.", maxKeyName)
	}
	return n, nil
}

// CreateKeyPair makes a key pair. The private half is in the answer and nowhere else.
func (s *Service) CreateKeyPair(ctx context.Context, c *principal.Caller, in *sdk.CreateKeyPairInput) (*sdk.CreateKeyPairOutput, error) {
	if in.KeyFormat == types.KeyFormatPpk {
		return nil, bad(codeUnsupported, "Keys in the format ppk are not supported: use pem.")
	}
	key, tags, err := s.newKeyPair(c, in.KeyName, in.TagSpecifications)
	if err != nil {
		return nil, err
	}
	if err := s.refuseKeyName(ctx, key); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	var private string
	key.Type = string(types.KeyTypeRsa)
	if in.KeyType == types.KeyTypeEd25519 {
		key.Type = string(types.KeyTypeEd25519)
		private, err = s.drawEd25519(&key)
	} else {
		private, err = s.drawRSA(&key)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key pair: %w", err)
	}
	if err := s.putKeyPair(ctx, c, key, tags); err != nil {
		return nil, err
	}
	return &sdk.CreateKeyPairOutput{
		KeyFingerprint: aws.String(key.Fingerprint), KeyMaterial: aws.String(private), KeyName: aws.String(key.Name),
		KeyPairId: aws.String(key.ID), Tags: tagsOut(tags),
	}, nil
}

func (s *Service) newKeyPair(c *principal.Caller, name *string, specs []types.TagSpecification) (fsm.KeyPair, []fsm.Tag, error) {
	valid, err := keyName(name)
	if err != nil {
		return fsm.KeyPair{}, nil, err
	}
	tags, err := specified(specs, types.ResourceTypeKeyPair)
	if err != nil {
		return fsm.KeyPair{}, nil, err
	}
	id, err := s.newID("key")
	return fsm.KeyPair{ID: id, Account: account(c), Name: valid, Created: s.now()}, tags[types.ResourceTypeKeyPair], err
}

// refuseKeyName refuses a name that is taken.
func (s *Service) refuseKeyName(ctx context.Context, key fsm.KeyPair) error {
	return s.read(ctx, func(v *fsm.View) error {
		if _, ok := fsm.KeyPairNamed(v, key.Account, key.Name); ok {
			return errKeyExists(key.Name)
		}
		return nil
	})
}

func errKeyExists(name string) *protocol.Error {
	return bad("InvalidKeyPair.Duplicate", "The keypair already exists: '%s'", name)
}

func (s *Service) putKeyPair(ctx context.Context, c *principal.Caller, key fsm.KeyPair, tags []fsm.Tag) error {
	err := s.cfg.Control.Propose(ctx, &fsm.PutKeyPair{Key: key, Tags: tags})
	if errors.Is(err, fsm.ErrExists) {
		return errKeyExists(key.Name)
	}
	if err != nil {
		return refusal(err)
	}
	s.changed(ctx, c, "key pair added", "key", key.Name, "id", key.ID)
	return nil
}

// drawRSA fills in a new RSA key and answers its private half in PKCS #1 PEM. Its fingerprint is the SHA-1 of the private
// key in PKCS #8 DER ("Verify the fingerprint of your key pair", Amazon EC2 User Guide).
func (s *Service) drawRSA(key *fsm.KeyPair) (string, error) {
	private, err := rsa.GenerateKey(s.cfg.Rand, rsaBits)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(&private.PublicKey)
	if err != nil {
		return "", err
	}
	sum := sha1.Sum(der) //nolint:gosec // as AWS does
	key.Fingerprint, key.PublicKey = colons(sum[:]), publicLine(public, key.Name)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})), nil
}

// drawEd25519 fills in a new ed25519 key and answers its private half in OpenSSH's PEM.
func (s *Service) drawEd25519(key *fsm.KeyPair) (string, error) {
	seed, err := s.draw(ed25519.SeedSize)
	if err != nil {
		return "", err
	}
	private := ed25519.NewKeyFromSeed(seed)
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key.Fingerprint, key.PublicKey = sha256Fingerprint(public), publicLine(public, key.Name)
	return string(pem.EncodeToMemory(block)), nil
}

// publicLine is a public key as a guest's authorized_keys has it.
func publicLine(key ssh.PublicKey, comment string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + comment
}

// sha256Fingerprint is OpenSSH's, as EC2 gives it: without the prefix, with padding.
func sha256Fingerprint(key ssh.PublicKey) string {
	raw := strings.TrimPrefix(ssh.FingerprintSHA256(key), "SHA256:")
	if pad := len(raw) % 4; pad != 0 {
		raw += strings.Repeat("=", 4-pad)
	}
	return raw
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

// ImportKeyPair adds the public half of a key that the caller has made: an OpenSSH line, PEM, or DER in base64.
func (s *Service) ImportKeyPair(ctx context.Context, c *principal.Caller, in *sdk.ImportKeyPairInput) (*sdk.ImportKeyPairOutput, error) {
	key, tags, err := s.newKeyPair(c, in.KeyName, in.TagSpecifications)
	if err != nil {
		return nil, err
	}
	if err := readPublicKey(&key, in.PublicKeyMaterial); err != nil {
		return nil, err
	}
	if err := s.refuseKeyName(ctx, key); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.putKeyPair(ctx, c, key, tags); err != nil {
		return nil, err
	}
	return &sdk.ImportKeyPairOutput{
		KeyFingerprint: aws.String(key.Fingerprint), KeyName: aws.String(key.Name), KeyPairId: aws.String(key.ID), Tags: tagsOut(tags),
	}, nil
}

func errKeyFormat() *protocol.Error {
	return bad("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
}

// readPublicKey fills in an imported key.
func readPublicKey(key *fsm.KeyPair, material []byte) error {
	if len(material) == 0 {
		return missing("PublicKeyMaterial")
	}
	if len(material) > maxPublicKey {
		return bad("InvalidKeyPair.Format", "The public key is longer than %d bytes", maxPublicKey)
	}
	public, err := parsePublicKey(material)
	if err != nil {
		return errKeyFormat()
	}
	wrapped, ok := public.(ssh.CryptoPublicKey)
	if !ok {
		return errKeyFormat()
	}
	switch k := wrapped.CryptoPublicKey().(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n != 1024 && n != rsaBits && n != 4096 {
			return bad("InvalidKey.Format", "RSA keys of 1024, 2048 and 4096 bits can be imported, this one has %d", n)
		}
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return errKeyFormat()
		}
		sum := md5.Sum(der) //nolint:gosec // as AWS does
		key.Type, key.Fingerprint = string(types.KeyTypeRsa), colons(sum[:])
	case ed25519.PublicKey:
		key.Type, key.Fingerprint = string(types.KeyTypeEd25519), sha256Fingerprint(public)
	default:
		return errKeyFormat()
	}
	key.PublicKey = publicLine(public, key.Name)
	return nil
}

func parsePublicKey(material []byte) (ssh.PublicKey, error) {
	if public, _, _, _, err := ssh.ParseAuthorizedKey(material); err == nil {
		return public, nil
	}
	der := material
	if block, _ := pem.Decode(material); block != nil {
		der = block.Bytes
	} else if raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(material)), "")); err == nil {
		der = raw
	}
	if public, err := ssh.ParsePublicKey(der); err == nil { // RFC 4716
		return public, nil
	}
	if k, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return ssh.NewPublicKey(k)
	}
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(k)
}

// keyRow is a key pair and its tags.
type keyRow struct {
	fsm.KeyPair
	tags []fsm.Tag
}

var keyFilters = filterTable[keyRow]{
	names: map[string]func(keyRow) []string{
		"fingerprint": func(k keyRow) []string { return one(k.Fingerprint) },
		"key-name":    func(k keyRow) []string { return one(k.Name) },
		"key-pair-id": func(k keyRow) []string { return one(k.ID) },
	},
	tags: func(k keyRow) []fsm.Tag { return k.tags },
}

// DescribeKeyPairs tells of key pairs, in order of name.
func (s *Service) DescribeKeyPairs(ctx context.Context, c *principal.Caller, in *sdk.DescribeKeyPairsInput) (*sdk.DescribeKeyPairsOutput, error) {
	matches, err := keyFilters.compile(in.Filters)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DescribeKeyPairsOutput{KeyPairs: []types.KeyPairInfo{}}
	var all []fsm.KeyPair
	err = s.read(ctx, func(v *fsm.View) error {
		all = fsm.KeyPairsOf(v, account(c))
		for _, k := range all {
			row := keyRow{k, fsm.TagsOf(v, k.ID)}
			if matches(row) && asked(in.KeyNames, k.Name) && asked(in.KeyPairIds, k.ID) {
				out.KeyPairs = append(out.KeyPairs, row.out(aws.ToBool(in.IncludePublicKey)))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range in.KeyNames {
		if !slices.ContainsFunc(all, func(k fsm.KeyPair) bool { return k.Name == name }) {
			return nil, noKeyPair(name)
		}
	}
	for _, id := range in.KeyPairIds {
		if !slices.ContainsFunc(all, func(k fsm.KeyPair) bool { return k.ID == id }) {
			return nil, noKeyPair(id)
		}
	}
	return out, nil
}

// asked tells whether x is among those asked for; all are when none is named.
func asked(names []string, x string) bool { return len(names) == 0 || slices.Contains(names, x) }

func (k keyRow) out(public bool) types.KeyPairInfo {
	out := types.KeyPairInfo{
		CreateTime: timeOf(k.Created), KeyFingerprint: aws.String(k.Fingerprint), KeyName: aws.String(k.Name),
		KeyPairId: aws.String(k.ID), KeyType: types.KeyType(k.Type), Tags: tagsOut(k.tags),
	}
	if public {
		out.PublicKey = aws.String(k.PublicKey)
	}
	return out
}

// DeleteKeyPair removes a key pair. One that is not there is no error, as in EC2.
func (s *Service) DeleteKeyPair(ctx context.Context, c *principal.Caller, in *sdk.DeleteKeyPairInput) (*sdk.DeleteKeyPairOutput, error) {
	if aws.ToString(in.KeyName) == "" && aws.ToString(in.KeyPairId) == "" {
		return nil, missing("KeyName")
	}
	out := &sdk.DeleteKeyPairOutput{Return: aws.Bool(true)}
	err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		for _, k := range fsm.KeyPairsOf(v, account(c)) {
			if named(in.KeyName, k.Name) && named(in.KeyPairId, k.ID) {
				out.KeyPairId = aws.String(k.ID)
				return &fsm.DeleteKeyPair{Account: k.Account, Name: k.Name}, dryRun(in.DryRun)
			}
		}
		return nil, dryRun(in.DryRun)
	}, fsm.ErrNotFound)
	if err != nil {
		return nil, err
	}
	if out.KeyPairId != nil {
		s.changed(ctx, c, "key pair removed", "id", *out.KeyPairId)
	}
	return out, nil
}

// named tells whether a name that may be left out is x.
func named(name *string, x string) bool { return aws.ToString(name) == "" || *name == x }
