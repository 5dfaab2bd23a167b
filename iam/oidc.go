package iam

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// Limits of an OIDC provider's parts, from the IAM API reference.
const (
	maxProviderURL   = 255
	maxClientID      = 255
	thumbprintLength = 40
)

// CreateOpenIDConnectProvider makes a provider. Nothing is fetched from its URL: without thumbprints it has none, and until
// an operator has recorded its keys no token of it is believed. Errors: InvalidInput, ValidationError,
// EntityAlreadyExists, LimitExceeded.
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.CreateOpenIDConnectProviderInput) (*awsiam.CreateOpenIDConnectProviderOutput, error) {
	p := fsm.OIDCProvider{Account: fsm.AccountID(c.Account), Created: s.cfg.Clock().Unix(), Thumbprints: in.ThumbprintList}
	var err error
	if p.URL, err = providerURL(in.Url); err != nil {
		return nil, err
	}
	for _, id := range in.ClientIDList {
		if _, err := required(&id, "clientIDList", maxClientID); err != nil {
			return nil, err
		}
		if !slices.Contains(p.Clients, id) {
			p.Clients = append(p.Clients, id)
		}
	}
	if err := validThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	if p.Tags, err = inCase.valid(in.Tags); err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.CreateOIDCProvider{Provider: p}, ""); err != nil {
		return nil, err
	}
	out := &awsiam.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: aws.String(p.ARN())}
	if len(p.Tags) > 0 {
		out.Tags = tagsOut(p.Tags)
	}
	return out, nil
}

// providerURL is what of a provider's URL names it: host and path.
func providerURL(value *string) (string, error) {
	text, err := required(value, "url", maxProviderURL)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	rest, secure := strings.CutPrefix(text, "https://")
	if err != nil || !secure || u.Host == "" || u.User != nil || u.Port() != "" || strings.ContainsAny(rest, "?#") || strings.ContainsFunc(rest, unprintable) {
		return "", invalid("Invalid Open ID Connect Provider URL")
	}
	return rest, nil
}

func validThumbprints(list []string) error {
	for _, print := range list {
		if len(print) != thumbprintLength {
			return constraint(quoted(print), "thumbprintList", fmt.Sprintf("Member must satisfy constraint: [Member must have length less than or equal to %d, Member must have length greater than or equal to %[1]d]", thumbprintLength))
		}
		if strings.Trim(print, "0123456789abcdefABCDEF") != "" {
			return invalidInput("Thumbprint %s is not valid: it must be the SHA-1 digest of a certificate in hexadecimal.", print)
		}
	}
	if len(list) > fsm.MaxOIDCThumbprints {
		return invalidInput("Thumbprint list must contain fewer than %d entries.", fsm.MaxOIDCThumbprints)
	}
	return nil
}

// oidcProvider is the caller's provider that an ARN names.
func oidcProvider(v *fsm.View, c *principal.Caller, arn string) (fsm.OIDCProvider, error) {
	p, ok := fsm.OIDCProviderByARN(v, fsm.AccountID(c.Account), arn)
	if !ok {
		return p, fsm.Errorf(fsm.ErrNotFound, "oidc-provider/"+arn)
	}
	return p, nil
}

const providerARN = "openIDConnectProviderArn"

// GetOpenIDConnectProvider is a provider. Its URL is shown without "https://", as AWS does.
func (s *Service) GetOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.GetOpenIDConnectProviderInput) (*awsiam.GetOpenIDConnectProviderOutput, error) {
	p, err := s.readProvider(ctx, c, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetOpenIDConnectProviderOutput{
		Url: aws.String(p.URL), ClientIDList: p.Clients, ThumbprintList: p.Thumbprints, CreateDate: date(p.Created), Tags: tagsOut(p.Tags),
	}, nil
}

func (s *Service) readProvider(ctx context.Context, c *principal.Caller, value *string) (p fsm.OIDCProvider, err error) {
	arn, err := validARNOf(value, providerARN)
	if err != nil {
		return p, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		p, err = oidcProvider(v, c, arn)
		return err
	})
	return p, err
}

// ListOpenIDConnectProviders lists the ARNs of providers. It has no pages, as in AWS.
func (s *Service) ListOpenIDConnectProviders(ctx context.Context, c *principal.Caller, _ *awsiam.ListOpenIDConnectProvidersInput) (*awsiam.ListOpenIDConnectProvidersOutput, error) {
	out := &awsiam.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: []types.OpenIDConnectProviderListEntry{}}
	err := s.read(ctx, func(v *fsm.View) error {
		for _, p := range fsm.OIDCProvidersOf(v, fsm.AccountID(c.Account)) {
			out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, types.OpenIDConnectProviderListEntry{Arn: aws.String(p.ARN())})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteOpenIDConnectProvider removes a provider with its keys. As in AWS it is no error when there is none.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.DeleteOpenIDConnectProviderInput) (*awsiam.DeleteOpenIDConnectProviderOutput, error) {
	arn, err := validARNOf(in.OpenIDConnectProviderArn, providerARN)
	if err != nil {
		return nil, err
	}
	err = s.decide(ctx, c, arn, func(v *fsm.View) (fsm.Command, error) {
		p, ok := fsm.OIDCProviderByARN(v, fsm.AccountID(c.Account), arn)
		if !ok {
			return nil, nil
		}
		return &fsm.DeleteOIDCProvider{Account: p.Account, URL: p.URL}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.DeleteOpenIDConnectProviderOutput{}, nil
}

// changeProvider lets change alter a provider and records it, unless change answers false.
func (s *Service) changeProvider(ctx context.Context, c *principal.Caller, value *string, change func(*fsm.OIDCProvider) (bool, error)) error {
	arn, err := validARNOf(value, providerARN)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, arn, func(v *fsm.View) (fsm.Command, error) {
		p, err := oidcProvider(v, c, arn)
		if err != nil {
			return nil, err
		}
		if changed, err := change(&p); err != nil || !changed {
			return nil, err
		}
		return &fsm.UpdateOIDCProvider{Provider: p}, nil
	})
}

// AddClientIDToOpenIDConnectProvider adds a client id. It is no error when the provider has it.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.AddClientIDToOpenIDConnectProviderInput) (*awsiam.AddClientIDToOpenIDConnectProviderOutput, error) {
	id, err := required(in.ClientID, "clientID", maxClientID)
	if err != nil {
		return nil, err
	}
	err = s.changeProvider(ctx, c, in.OpenIDConnectProviderArn, func(p *fsm.OIDCProvider) (bool, error) {
		if slices.Contains(p.Clients, id) {
			return false, nil
		}
		p.Clients = append(p.Clients, id)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.AddClientIDToOpenIDConnectProviderOutput{}, nil
}

// RemoveClientIDFromOpenIDConnectProvider removes a client id. It is no error when the provider does not have it.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.RemoveClientIDFromOpenIDConnectProviderInput) (*awsiam.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	id, err := required(in.ClientID, "clientID", maxClientID)
	if err != nil {
		return nil, err
	}
	err = s.changeProvider(ctx, c, in.OpenIDConnectProviderArn, func(p *fsm.OIDCProvider) (bool, error) {
		before := len(p.Clients)
		p.Clients = slices.DeleteFunc(p.Clients, func(have string) bool { return have == id })
		return len(p.Clients) < before, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.RemoveClientIDFromOpenIDConnectProviderOutput{}, nil
}

// UpdateOpenIDConnectProviderThumbprint replaces a provider's thumbprints.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, c *principal.Caller, in *awsiam.UpdateOpenIDConnectProviderThumbprintInput) (*awsiam.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	if in.ThumbprintList == nil {
		return nil, constraint("null", "thumbprintList", "Member must not be null")
	}
	if err := validThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	err := s.changeProvider(ctx, c, in.OpenIDConnectProviderArn, func(p *fsm.OIDCProvider) (bool, error) {
		p.Thumbprints = in.ThumbprintList
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UpdateOpenIDConnectProviderThumbprintOutput{}, nil
}

// TagOpenIDConnectProvider adds tags to a provider, over those of the same key.
func (s *Service) TagOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.TagOpenIDConnectProviderInput) (*awsiam.TagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, in.OpenIDConnectProviderArn, func(p *fsm.OIDCProvider) (_ bool, err error) {
		p.Tags, err = inCase.put(p.Tags, in.Tags, "TagsPerOpenIdConnectProvider")
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.TagOpenIDConnectProviderOutput{}, nil
}

// UntagOpenIDConnectProvider removes tags from a provider.
func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, c *principal.Caller, in *awsiam.UntagOpenIDConnectProviderInput) (*awsiam.UntagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, in.OpenIDConnectProviderArn, func(p *fsm.OIDCProvider) (_ bool, err error) {
		p.Tags, err = inCase.take(p.Tags, in.TagKeys)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UntagOpenIDConnectProviderOutput{}, nil
}

// ListOpenIDConnectProviderTags lists a provider's tags in order of key.
func (s *Service) ListOpenIDConnectProviderTags(ctx context.Context, c *principal.Caller, in *awsiam.ListOpenIDConnectProviderTagsInput) (*awsiam.ListOpenIDConnectProviderTagsOutput, error) {
	page, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	p, err := s.readProvider(ctx, c, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	tags, next := pageOfTags(page, p.Tags)
	return &awsiam.ListOpenIDConnectProviderTagsOutput{Tags: tags, IsTruncated: next != nil, Marker: next}, nil
}
