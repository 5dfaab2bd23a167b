package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// CLI sends calls with the aws CLI, one process for each. It tells no status of refusals.
type CLI struct{}

var (
	cliRefusal = regexp.MustCompile(`(?s)An error occurred \(([^)]+)\) when calling the \S+ operation(?: \(reached max retries: \d+\))?: (.*?)\s*$`)
	cliTime    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`)
)

// Do sends a call.
func (CLI) Do(ctx context.Context, c Call) (map[string]any, error) {
	params, err := json.Marshal(c.Params)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "aws", c.Service, commandName(c.Op), "--cli-input-json", string(params),
		"--endpoint-url", c.Endpoint, "--region", c.Region, "--output", "json")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+c.As.ID, "AWS_SECRET_ACCESS_KEY="+c.As.Secret, "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	if c.As.Token != "" {
		cmd.Env = append(cmd.Env, "AWS_SESSION_TOKEN="+c.As.Token)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if m := cliRefusal.FindStringSubmatch(errs.String()); err != nil && m != nil {
		return nil, &Refusal{Code: m[1], Message: m[2]}
	}
	if err != nil {
		return nil, fmt.Errorf("aws %s %s: %w\n%s", c.Service, commandName(c.Op), err, errs.String())
	}
	answer := map[string]any{}
	if out.Len() > 0 {
		dec := json.NewDecoder(&out)
		dec.UseNumber()
		if err := dec.Decode(&answer); err != nil {
			return nil, fmt.Errorf("aws %s %s: %w", c.Service, commandName(c.Op), err)
		}
	}
	v, err := withTimes(answer)
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

// commandName is how the CLI calls an operation: CreateOpenIDConnectProvider is create-open-id-connect-provider.
func commandName(op string) string {
	var b strings.Builder
	for i := range len(op) {
		upper := op[i] >= 'A' && op[i] <= 'Z'
		if upper && i > 0 && (op[i-1] < 'A' || op[i-1] > 'Z' || i+1 < len(op) && op[i+1] >= 'a' && op[i+1] <= 'z') {
			b.WriteByte('-')
		}
		b.WriteByte(op[i])
	}
	return strings.ToLower(b.String())
}

// withTimes writes times as other clients do: the CLI has +00:00 for Z.
func withTimes(v any) (any, error) {
	var errs []error
	switch x := v.(type) {
	case map[string]any:
		for name, value := range x {
			out, err := withTimes(value)
			errs = append(errs, err)
			x[name] = out
		}
	case []any:
		for i, value := range x {
			out, err := withTimes(value)
			errs = append(errs, err)
			x[i] = out
		}
	case string:
		if cliTime.MatchString(x) {
			when, err := time.Parse(time.RFC3339, x)
			return when.UTC().Format(time.RFC3339), err
		}
	}
	return v, errors.Join(errs...)
}
