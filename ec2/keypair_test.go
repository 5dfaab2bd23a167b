package ec2

import (
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"hive/fsm"
)

// described is the one key pair of a name.
func described(t *testing.T, r *rig, name string) types.KeyPairInfo {
	t.Helper()
	out, err := r.client.DescribeKeyPairs(t.Context(), &sdk.DescribeKeyPairsInput{KeyNames: []string{name}, IncludePublicKey: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyPairs[0]
}

func TestACreatedKeyOpensWhatItsPublicHalfLocks(t *testing.T) {
	r := newRig(t)
	for _, kind := range []types.KeyType{types.KeyTypeRsa, types.KeyTypeEd25519} {
		out, err := r.client.CreateKeyPair(t.Context(), &sdk.CreateKeyPairInput{KeyName: str("my " + string(kind)), KeyType: kind, TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeKeyPair, Tags: []types.Tag{{Key: str("a"), Value: str("b")}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.ParsePrivateKey([]byte(*out.KeyMaterial))
		if err != nil {
			t.Fatal(err)
		}
		info := described(t, r, *out.KeyName)
		public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(*info.PublicKey))
		if err != nil || string(public.Marshal()) != string(signer.PublicKey().Marshal()) || comment != *out.KeyName {
			t.Errorf("%s: the public half is %q, %v", kind, *info.PublicKey, err)
		}
		want := ""
		block, _ := pem.Decode([]byte(*out.KeyMaterial))
		if kind == types.KeyTypeRsa {
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if key.N.BitLen() != 2048 {
				t.Errorf("%d bits", key.N.BitLen())
			}
			der, _ := x509.MarshalPKCS8PrivateKey(key)
			sum := sha1.Sum(der)
			want = hexColons(sum[:])
		} else {
			sum := sha256.Sum256(public.Marshal())
			want = base64.StdEncoding.EncodeToString(sum[:])
			if block.Type != "OPENSSH PRIVATE KEY" {
				t.Errorf("an ed25519 key as %s", block.Type)
			}
		}
		if *out.KeyFingerprint != want || *info.KeyFingerprint != want || info.KeyType != kind || *info.KeyPairId != *out.KeyPairId || len(info.Tags) != 1 {
			t.Errorf("%s: created %v, described %+v, want fingerprint %s", kind, out, info, want)
		}
	}
	r.view(func(v *fsm.View) {
		for _, k := range fsm.KeyPairsOf(v, aliceID) {
			if strings.Contains(k.PublicKey, "PRIVATE") {
				t.Error("a private key was kept")
			}
		}
	})
}

func hexColons(sum []byte) string {
	var out []string
	for _, b := range sum {
		out = append(out, hex.EncodeToString([]byte{b}))
	}
	return strings.Join(out, ":")
}

func TestPublicKeysAreImportedInEveryForm(t *testing.T) {
	r := newRig(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(&private.PublicKey)
	line, _ := ssh.NewPublicKey(&private.PublicKey)
	sum := md5.Sum(der)
	for name, material := range map[string][]byte{
		"openssh": append(ssh.MarshalAuthorizedKey(line), " me@here"...),
		"pem":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"pkcs1":   pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private.PublicKey)}),
		"der":     der,
		"base64":  []byte(base64.StdEncoding.EncodeToString(der)),
		"rfc4716": pem.EncodeToMemory(&pem.Block{Type: "SSH2 PUBLIC KEY", Bytes: line.Marshal()}),
	} {
		out, err := r.client.ImportKeyPair(t.Context(), &sdk.ImportKeyPairInput{KeyName: &name, PublicKeyMaterial: material})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info := described(t, r, name)
		if *out.KeyFingerprint != hexColons(sum[:]) || *info.PublicKey != strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line)))+" "+name {
			t.Errorf("%s: %s, %s", name, *out.KeyFingerprint, *info.PublicKey)
		}
	}
	public, _, _ := ed25519.GenerateKey(rand.Reader)
	line, _ = ssh.NewPublicKey(public)
	out, err := r.client.ImportKeyPair(t.Context(), &sdk.ImportKeyPairInput{KeyName: str("ed"), PublicKeyMaterial: ssh.MarshalAuthorizedKey(line)})
	digest := sha256.Sum256(line.Marshal())
	if err != nil || *out.KeyFingerprint != base64.StdEncoding.EncodeToString(digest[:]) {
		t.Errorf("ed25519: %v, %v", out, err)
	}
}

func TestBadKeyPairsAreRefusedInTheWordsOfEC2(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	create := func(in sdk.CreateKeyPairInput) error { _, err := r.client.CreateKeyPair(ctx, &in); return err }
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str("k"), KeyType: types.KeyTypeEd25519}), "")
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str("k")}), "InvalidKeyPair.Duplicate")
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str("")}), "MissingParameter")
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str(strings.Repeat("k", 256))}), "InvalidParameterValue")
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str("p"), KeyFormat: types.KeyFormatPpk}), "UnsupportedOperation")
	wantCode(t, create(sdk.CreateKeyPairInput{KeyName: str("d"), DryRun: aws.Bool(true)}), "DryRunOperation")
	_, err := r.client.ImportKeyPair(ctx, &sdk.ImportKeyPairInput{KeyName: str("x"), PublicKeyMaterial: []byte("ssh-rsa nonsense")})
	wantCode(t, err, "InvalidKey.Format")
	_, err = r.client.ImportKeyPair(ctx, &sdk.ImportKeyPairInput{KeyName: str("k"), PublicKeyMaterial: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKBAbTLmpS8xFVh5r0uLEHdZBEfqB+7o8pBLqNnmIA")})
	wantCode(t, err, "InvalidKeyPair.Duplicate")
	_, err = r.client.DescribeKeyPairs(ctx, &sdk.DescribeKeyPairsInput{KeyNames: []string{"none"}})
	wantCode(t, err, "InvalidKeyPair.NotFound")
	_, err = r.bob.DescribeKeyPairs(ctx, &sdk.DescribeKeyPairsInput{KeyNames: []string{"k"}})
	wantCode(t, err, "InvalidKeyPair.NotFound")
	for range 2 { // the second time it is gone, and that is no error
		_, err = r.client.DeleteKeyPair(ctx, &sdk.DeleteKeyPairInput{KeyName: str("k")})
		wantCode(t, err, "")
	}
	_, err = r.client.DeleteKeyPair(ctx, &sdk.DeleteKeyPairInput{})
	wantCode(t, err, "MissingParameter")
}
