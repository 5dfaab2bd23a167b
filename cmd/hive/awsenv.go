package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"hive/internal/node"
)

// awsEnv is what an AWS client needs to speak to a node.
type awsEnv struct {
	endpoint, accessKey, secretKey, region, ca string
}

// names are the environment variables of an awsEnv, in the order that they are shown.
var envNames = [...]string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"}

func (e awsEnv) vars() map[string]string {
	m := map[string]string{}
	for i, v := range [...]string{e.endpoint, e.accessKey, e.secretKey, e.region, e.ca} {
		m[envNames[i]] = v
	}
	return m
}

// exports are lines for a POSIX shell.
func (e awsEnv) exports(indent string) string {
	var b strings.Builder
	vars := e.vars()
	for _, n := range envNames {
		fmt.Fprintf(&b, "%sexport %s=%s\n", indent, n, shellQuote(vars[n]))
	}
	return b.String()
}

// shellQuote leaves a word alone that a shell would not change.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// holdsNode refuses a directory that init or join has not made.
func holdsNode(dir string) error {
	_, err := node.Dir(dir).LoadConfig()
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s holds no node (no node.json): make one with `hive init` or `hive join`, or name another directory with --hive-dir", dir)
	}
	return err
}

// nodeEnv is the environment for the node in dir. Only the node that ran init has a key.
func nodeEnv(dir string) (awsEnv, error) {
	e, err := nodeEndpoint(dir)
	if err != nil {
		return e, err
	}
	e.accessKey, e.secretKey, err = readCredentials(filepath.Join(dir, "credentials"))
	if errors.Is(err, os.ErrNotExist) {
		return e, fmt.Errorf("%s holds no credentials: only the node that ran `hive init` has the root key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", dir)
	}
	return e, err
}

// nodeEndpoint is nodeEnv without a key.
func nodeEndpoint(dir string) (awsEnv, error) {
	if err := holdsNode(dir); err != nil {
		return awsEnv{}, err
	}
	cfg, err := node.Dir(dir).LoadConfig()
	return awsEnv{
		endpoint: "http://" + net.JoinHostPort(cfg.Advertise, node.APIPort),
		region:   cfg.Region,
		ca:       filepath.Join(dir, "ca.pem"),
	}, err
}

// readCredentials reads the first profile of an AWS credentials file.
func readCredentials(path string) (accessKey, secretKey string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(name) {
		case "aws_access_key_id":
			accessKey = value
		case "aws_secret_access_key":
			secretKey = value
		}
	}
	if err := sc.Err(); err != nil {
		return "", "", err
	}
	if accessKey == "" || secretKey == "" {
		return "", "", fmt.Errorf("%s is damaged: it names no aws_access_key_id and aws_secret_access_key", path)
	}
	return accessKey, secretKey, nil
}
