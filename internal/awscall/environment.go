package awscall

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoKeys is an environment that names no keys.
var ErrNoKeys = errors.New("the environment names no AWS keys")

// FromEnvironment reads what AWS's tools read: AWS_ACCESS_KEY_ID and its like, or the profile AWS_PROFILE of the shared
// files, and AWS_ENDPOINT_URL, AWS_REGION, AWS_CA_BUNDLE. Source: "Configuration and credential file settings", AWS CLI
// User Guide. home is the home directory.
func FromEnvironment(getenv func(string) string, home string) (Config, error) {
	cfg := Config{
		Endpoint: getenv("AWS_ENDPOINT_URL"), Region: cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		AccessKey: getenv("AWS_ACCESS_KEY_ID"), SecretKey: getenv("AWS_SECRET_ACCESS_KEY"), Token: getenv("AWS_SESSION_TOKEN"),
		CAFile: getenv("AWS_CA_BUNDLE"),
	}
	profile := getenv("AWS_PROFILE")
	own := cfg.AccessKey != "" && cfg.SecretKey != "" // keys of the environment go before the profile's
	switch {
	case profile == "" && own:
		return cfg, nil
	case profile == "":
		return cfg, ErrNoKeys
	}
	file := cmp.Or(getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials"))
	keys, err := section(file, profile)
	if err != nil {
		return cfg, err
	}
	settings, err := section(cmp.Or(getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config")), "profile "+profile, profile)
	if err != nil {
		return cfg, err
	}
	find := func(name string) string { return cmp.Or(keys[name], settings[name]) }
	if !own {
		cfg.AccessKey, cfg.SecretKey, cfg.Token = find("aws_access_key_id"), find("aws_secret_access_key"), find("aws_session_token")
	}
	cfg.Region, cfg.Endpoint = cmp.Or(cfg.Region, find("region")), cmp.Or(cfg.Endpoint, find("endpoint_url"))
	cfg.CAFile = cmp.Or(cfg.CAFile, find("ca_bundle"))
	if cfg.AccessKey == "" || cfg.SecretKey == "" {
		return cfg, fmt.Errorf("the profile %q has no aws_access_key_id and aws_secret_access_key in %s", profile, file)
	}
	return cfg, nil
}

// section reads the settings below the first of the named headings that an INI file has; none when there is no file.
func section(file string, names ...string) (map[string]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	all, heading := map[string]map[string]string{}, ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[' && text[len(text)-1] == ']':
			heading = strings.Join(strings.Fields(text[1:len(text)-1]), " ")
			if all[heading] == nil {
				all[heading] = map[string]string{}
			}
		case all[heading] != nil:
			name, value, _ := strings.Cut(text, "=")
			all[heading][strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	for _, name := range names {
		if s := all[name]; s != nil {
			return s, lines.Err()
		}
	}
	return nil, lines.Err()
}
