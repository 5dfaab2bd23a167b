package iam

import (
	"context"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	minSAMLMetadata = 1000
	maxSAMLMetadata = 10_000_000
	maxSAMLName     = 128
	samlKeyLength   = 22
	samlUUIDLength  = 20
	// samlYears is how long metadata is valid that does not say so, as in AWS.
	samlYears = 100

	samlARN = "sAMLProviderArn"
)

// samlMetadata is what is read of a provider's metadata (SAML 2.0 Metadata, 2.3.2).
type samlMetadata struct {
	XMLName    xml.Name  `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
	EntityID   string    `xml:"entityID,attr"`
	ValidUntil string    `xml:"validUntil,attr"`
	Provider   *struct{} `xml:"urn:oasis:names:tc:SAML:2.0:metadata IDPSSODescriptor"`
}

// readSAML checks a metadata document and says until when it is valid. Errors: InvalidInput, ValidationError.
func readSAML(value *string, now time.Time) (doc string, until time.Time, err error) {
	if doc, err = required(value, "sAMLMetadataDocument", maxSAMLMetadata); err != nil {
		return "", until, err
	}
	if len(doc) < minSAMLMetadata {
		return "", until, constraint(quoted(doc), "sAMLMetadataDocument", "Member must have length greater than or equal to 1000")
	}
	var m samlMetadata
	if err := xml.Unmarshal([]byte(doc), &m); err != nil || m.EntityID == "" || m.Provider == nil {
		return "", until, invalidInput("Could not parse metadata: it must be the EntityDescriptor of an identity provider.")
	}
	until = now.AddDate(samlYears, 0, 0)
	if m.ValidUntil != "" {
		if until, err = time.Parse(time.RFC3339, m.ValidUntil); err != nil {
			return "", until, invalidInput("Could not parse metadata: validUntil is not a time.")
		}
	}
	return doc, until, nil
}

func validEncryption(mode types.AssertionEncryptionModeType) error {
	if mode != "" && !slices.Contains(mode.Values(), mode) {
		return constraint(quoted(string(mode)), "assertionEncryptionMode", "Member must satisfy enum value set: [Allowed, Required]")
	}
	return nil
}

// addSAMLKey puts a request's private key into a provider. Errors: InvalidInput.
func (s *Service) addSAMLKey(p *fsm.SAMLProvider, key *string) error {
	if key == nil {
		return nil
	}
	if _, err := readPrivateKey(*key); err != nil {
		return invalidInput("The private key is not valid: it must be an unencrypted key in PEM format.")
	}
	id, err := s.newID("", samlKeyLength)
	if err != nil {
		return err
	}
	k := fsm.SAMLKey{ID: id, Added: s.cfg.Clock().Unix()}
	if k.Secret, err = s.cfg.Sealer.Seal([]byte(*key), k.SealContext()); err != nil {
		return err
	}
	p.Keys = append([]fsm.SAMLKey{k}, p.Keys...)
	return nil
}

// checkEncryption refuses a provider that must have a key and has none.
func checkEncryption(p fsm.SAMLProvider) error {
	if p.Encryption == string(types.AssertionEncryptionModeTypeRequired) && len(p.Keys) == 0 {
		return invalidInput("A private key is needed where encrypted assertions are required.")
	}
	return nil
}

// CreateSAMLProvider makes a SAML provider. It is kept and shown; no session is given by it. Errors: InvalidInput,
// EntityAlreadyExists, LimitExceeded, ValidationError.
func (s *Service) CreateSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.CreateSAMLProviderInput) (*awsiam.CreateSAMLProviderOutput, error) {
	p := fsm.SAMLProvider{Account: fsm.AccountID(c.Account), Created: s.cfg.Clock().Unix(), Encryption: string(in.AssertionEncryptionMode)}
	var err error
	if p.Name, err = required(in.Name, "name", maxSAMLName); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(p.Name, func(r rune) bool { return !word(r) && r != '.' && r != '-' }) {
		return nil, constraint(quoted(p.Name), "name", `Member must satisfy regular expression pattern: [\w._-]+`)
	}
	var until time.Time
	if p.Metadata, until, err = readSAML(in.SAMLMetadataDocument, s.cfg.Clock()); err != nil {
		return nil, err
	}
	p.ValidUntil = until.Unix()
	if p.Tags, err = inCase.valid(in.Tags); err != nil {
		return nil, err
	}
	if err := validEncryption(in.AssertionEncryptionMode); err != nil {
		return nil, err
	}
	if err := s.addSAMLKey(&p, in.AddPrivateKey); err != nil {
		return nil, err
	}
	if err := checkEncryption(p); err != nil {
		return nil, err
	}
	if p.UUID, err = s.newID("", samlUUIDLength); err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.PutSAMLProvider{Provider: p, Make: true}, ""); err != nil {
		return nil, err
	}
	out := &awsiam.CreateSAMLProviderOutput{SAMLProviderArn: aws.String(p.ARN())}
	if len(p.Tags) > 0 {
		out.Tags = tagsOut(p.Tags)
	}
	return out, nil
}

func samlIn(v *fsm.View, c *principal.Caller, value *string) (fsm.SAMLProvider, error) {
	arn, err := validARNOf(value, samlARN)
	if err != nil {
		return fsm.SAMLProvider{}, err
	}
	p, ok := fsm.SAMLProviderByARN(v, fsm.AccountID(c.Account), arn)
	if !ok {
		return p, fsm.Errorf(fsm.ErrNotFound, "saml-provider/"+arn)
	}
	return p, nil
}

func (s *Service) readSAMLProvider(ctx context.Context, c *principal.Caller, arn *string) (p fsm.SAMLProvider, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		p, err = samlIn(v, c, arn)
		return err
	})
	return p, err
}

// changeSAML lets change alter a provider and records it.
func (s *Service) changeSAML(ctx context.Context, c *principal.Caller, arn *string, change func(*fsm.SAMLProvider) error) error {
	return s.decide(ctx, c, text(arn), func(v *fsm.View) (fsm.Command, error) {
		p, err := samlIn(v, c, arn)
		if err == nil {
			err = change(&p)
		}
		return &fsm.PutSAMLProvider{Provider: p}, err
	})
}

// UpdateSAMLProvider replaces a provider's metadata, its encryption mode, and adds or removes a private key. Errors:
// NoSuchEntity, InvalidInput, LimitExceeded.
func (s *Service) UpdateSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.UpdateSAMLProviderInput) (*awsiam.UpdateSAMLProviderOutput, error) {
	if err := validEncryption(in.AssertionEncryptionMode); err != nil {
		return nil, err
	}
	err := s.changeSAML(ctx, c, in.SAMLProviderArn, func(p *fsm.SAMLProvider) error {
		if in.SAMLMetadataDocument != nil {
			doc, until, err := readSAML(in.SAMLMetadataDocument, s.cfg.Clock())
			if err != nil {
				return err
			}
			p.Metadata, p.ValidUntil = doc, until.Unix()
		}
		if in.AssertionEncryptionMode != "" {
			p.Encryption = string(in.AssertionEncryptionMode)
		}
		if in.RemovePrivateKey != nil {
			before := len(p.Keys)
			p.Keys = slices.DeleteFunc(p.Keys, func(k fsm.SAMLKey) bool { return k.ID == *in.RemovePrivateKey })
			if len(p.Keys) == before {
				return protocol.Errorf(http.StatusNotFound, "NoSuchEntity", "The private key with id %s cannot be found.", *in.RemovePrivateKey)
			}
		}
		if err := s.addSAMLKey(p, in.AddPrivateKey); err != nil {
			return err
		}
		return checkEncryption(*p)
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UpdateSAMLProviderOutput{SAMLProviderArn: in.SAMLProviderArn}, nil
}

// GetSAMLProvider is a provider, of its private keys the ids only. Errors: NoSuchEntity.
func (s *Service) GetSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.GetSAMLProviderInput) (*awsiam.GetSAMLProviderOutput, error) {
	p, err := s.readSAMLProvider(ctx, c, in.SAMLProviderArn)
	if err != nil {
		return nil, err
	}
	out := &awsiam.GetSAMLProviderOutput{
		SAMLMetadataDocument: aws.String(p.Metadata), CreateDate: date(p.Created), ValidUntil: date(p.ValidUntil), SAMLProviderUUID: aws.String(p.UUID),
		AssertionEncryptionMode: types.AssertionEncryptionModeType(p.Encryption), Tags: tagsOut(p.Tags),
	}
	for _, k := range p.Keys {
		out.PrivateKeyList = append(out.PrivateKeyList, types.SAMLPrivateKey{KeyId: aws.String(k.ID), Timestamp: date(k.Added)})
	}
	return out, nil
}

// ListSAMLProviders lists the account's providers. It has no pages, as in AWS.
func (s *Service) ListSAMLProviders(ctx context.Context, c *principal.Caller, _ *awsiam.ListSAMLProvidersInput) (*awsiam.ListSAMLProvidersOutput, error) {
	out := &awsiam.ListSAMLProvidersOutput{SAMLProviderList: []types.SAMLProviderListEntry{}}
	err := s.read(ctx, func(v *fsm.View) error {
		for _, p := range fsm.SAMLProvidersOf(v, fsm.AccountID(c.Account)) {
			out.SAMLProviderList = append(out.SAMLProviderList, types.SAMLProviderListEntry{
				Arn: aws.String(p.ARN()), CreateDate: date(p.Created), ValidUntil: date(p.ValidUntil),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteSAMLProvider removes a provider with its keys. Errors: NoSuchEntity.
func (s *Service) DeleteSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.DeleteSAMLProviderInput) (*awsiam.DeleteSAMLProviderOutput, error) {
	return done[awsiam.DeleteSAMLProviderOutput](s.decide(ctx, c, text(in.SAMLProviderArn), func(v *fsm.View) (fsm.Command, error) {
		p, err := samlIn(v, c, in.SAMLProviderArn)
		return &fsm.DeleteSAMLProvider{Account: p.Account, Name: p.Name}, err
	}))
}

// TagSAMLProvider adds tags to a provider, over those of the same key.
func (s *Service) TagSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.TagSAMLProviderInput) (*awsiam.TagSAMLProviderOutput, error) {
	return done[awsiam.TagSAMLProviderOutput](s.changeSAML(ctx, c, in.SAMLProviderArn, func(p *fsm.SAMLProvider) (err error) {
		p.Tags, err = inCase.put(p.Tags, in.Tags, "TagsPerSAMLProvider")
		return err
	}))
}

// UntagSAMLProvider removes tags from a provider.
func (s *Service) UntagSAMLProvider(ctx context.Context, c *principal.Caller, in *awsiam.UntagSAMLProviderInput) (*awsiam.UntagSAMLProviderOutput, error) {
	return done[awsiam.UntagSAMLProviderOutput](s.changeSAML(ctx, c, in.SAMLProviderArn, func(p *fsm.SAMLProvider) (err error) {
		p.Tags, err = inCase.take(p.Tags, in.TagKeys)
		return err
	}))
}

// ListSAMLProviderTags lists a provider's tags in order of key.
func (s *Service) ListSAMLProviderTags(ctx context.Context, c *principal.Caller, in *awsiam.ListSAMLProviderTagsInput) (*awsiam.ListSAMLProviderTagsOutput, error) {
	page, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	p, err := s.readSAMLProvider(ctx, c, in.SAMLProviderArn)
	if err != nil {
		return nil, err
	}
	tags, next := pageOfTags(page, p.Tags)
	return &awsiam.ListSAMLProviderTagsOutput{Tags: tags, IsTruncated: next != nil, Marker: next}, nil
}
