package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Run runs a scenario. The error tells the step, what was expected and what came.
func Run(ctx context.Context, w *World, c Client, s *Scenario) error {
	mine, err := w.Account(ctx)
	if err != nil {
		return fmt.Errorf("an account: %w", err)
	}
	r := &run{world: w, client: c, scenario: s, accounts: map[string]Account{"root": mine}, scope: scope{"account": mine.ID, "region": w.Region}}
	for name, v := range s.lets {
		r.scope[name] = let{v}
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		if err := r.step(ctx, step); err != nil {
			return fmt.Errorf("%s: %s %s: %w", step.Where, step.Verb, step.Op, err)
		}
	}
	return nil
}

// run is a scenario under way.
type run struct {
	world    *World
	client   Client
	scenario *Scenario
	accounts map[string]Account // by "root", "other"
	scope    scope
}

func (r *run) step(ctx context.Context, s *Step) error {
	if s.Times == 0 {
		return r.once(ctx, s, r.scope)
	}
	for i := range s.Times {
		if err := r.once(ctx, s, r.scope.with("i", strconv.Itoa(i+1))); err != nil {
			return fmt.Errorf("time %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *run) once(ctx context.Context, s *Step, in scope) error {
	if s.Who == "other" || mentions(s, "other") {
		other, err := r.other(ctx)
		if err != nil {
			return err
		}
		in["other"] = other.ID
	}
	if s.Verb == "advance" {
		if r.world.Advance == nil {
			return errors.New("this world cannot let the time go on")
		}
		r.world.Advance(s.For)
		return nil
	}
	params, err := in.expand(s.Params)
	if err != nil {
		return err
	}
	object, ok := params.(map[string]any)
	if !ok && params != nil {
		return fmt.Errorf("the parameters are %s", short(params))
	}
	made, err := r.make(ctx, s, object)
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	if err := r.judge(s, in, made, refused); err != nil {
		return err
	}
	if s.Label != "" {
		r.scope[s.Label] = made
	}
	return nil
}

// mentions tells whether a step's parameters or expectations name ${other}.
func mentions(s *Step, name string) bool {
	raw, err := json.Marshal([]any{s.Params, s.Want.Answer, s.Want.Message})
	if err != nil {
		return true
	}
	for _, m := range reference.FindAllStringSubmatch(string(raw), -1) {
		if m[1] == name {
			return true
		}
	}
	return false
}

func (r *run) other(ctx context.Context) (Account, error) {
	if a, ok := r.accounts["other"]; ok {
		return a, nil
	}
	a, err := r.world.Account(ctx)
	if err != nil {
		return a, fmt.Errorf("a second account: %w", err)
	}
	r.accounts["other"] = a
	return a, nil
}

// make does what a step says and answers what its label will name.
func (r *run) make(ctx context.Context, s *Step, params map[string]any) (any, error) {
	switch s.Verb {
	case "creds":
		return map[string]any{"Credentials": params}, nil
	case "totp":
		return totp(params, r.world.Clock())
	case "jwt":
		return identityToken(r.world.Provider, params, r.world.Clock())
	case "cert":
		return certificate(r.world.Provider, params, r.world.Clock())
	case "oidc-keys":
		return nil, r.oidcKeys(ctx, params)
	}
	as, err := r.who(s.Who)
	if err != nil {
		return nil, err
	}
	call := Call{Endpoint: r.world.Endpoint(), Region: r.world.Region, As: as, Service: s.Service, Op: s.Op, Params: params}
	if s.Verb == "form" {
		wire, ok := r.client.(*Wire)
		if !ok {
			return nil, errors.New("only Wire sends forms")
		}
		return wire.form(ctx, call)
	}
	op, err := operationOf(s.Service, s.Op)
	if err != nil {
		return nil, err
	}
	if params == nil {
		params = map[string]any{}
	}
	typed, err := asTyped(params, op.in)
	if err != nil {
		return nil, err
	}
	call.Params = typed.(map[string]any)
	return r.client.Do(ctx, call)
}

func (r *run) oidcKeys(ctx context.Context, params map[string]any) error {
	url, _ := params["Url"].(string)
	if r.world.OIDCKeys == nil {
		return errors.New("this world has no way to give a provider keys")
	}
	jwks, err := keySet(r.world.Provider)
	if err != nil {
		return err
	}
	return r.world.OIDCKeys(ctx, r.accounts["root"].ID, url, jwks)
}

// who finds a principal's key.
func (r *run) who(name string) (Credentials, error) {
	switch name {
	case "root", "other":
		return r.accounts[name].Root, nil
	case "anonymous":
		return Credentials{}, nil
	}
	answer, ok := r.scope[name].(map[string]any)
	if !ok {
		return Credentials{}, fmt.Errorf("%s is no principal", name)
	}
	for _, member := range []string{"AccessKey", "Credentials"} {
		if key, ok := answer[member].(map[string]any); ok {
			c := Credentials{}
			c.ID, _ = key["AccessKeyId"].(string)
			c.Secret, _ = key["SecretAccessKey"].(string)
			c.Token, _ = key["SessionToken"].(string)
			if c.ID == "" || c.Secret == "" {
				break
			}
			return c, nil
		}
	}
	return Credentials{}, fmt.Errorf("the answer %s has no key", name)
}

// judge compares what came with what was expected.
func (r *run) judge(s *Step, in scope, made any, refused *Refusal) error {
	if s.Want.Status == 0 {
		if refused != nil {
			return fmt.Errorf("it is refused: %w", refused)
		}
		if s.Want.Answer == nil {
			return nil
		}
		want, err := in.expand(s.Want.Answer)
		if err != nil {
			return err
		}
		if err := match(want, made, s.Want.Exact); err != nil {
			return fmt.Errorf("the answer%w", err)
		}
		return nil
	}
	message, err := in.text(s.Want.Message)
	if err != nil {
		return err
	}
	if refused == nil {
		return fmt.Errorf("it succeeds with %s, want %d %s %s", short(made), s.Want.Status, s.Want.Code, message)
	}
	statusDiffers := refused.Status != s.Want.Status && refused.Status != 0
	if statusDiffers || refused.Code != s.Want.Code || message != "" && !wildcard(message).MatchString(refused.Message) {
		return fmt.Errorf("it is refused:\n  got  %w\n  want %d %s %s", refused, s.Want.Status, s.Want.Code, message)
	}
	return nil
}

// moment is a time near now that params may shift: "At": "-30s".
func moment(params map[string]any, now time.Time) (time.Time, error) {
	at, ok := params["At"].(string)
	if !ok {
		return now, nil
	}
	d, err := time.ParseDuration(at)
	return now.Add(d), err
}
