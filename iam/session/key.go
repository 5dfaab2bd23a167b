package session

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Prefix is what access keys of temporary credentials begin with.
const Prefix = "ASIA"

// An access key's id is Prefix and, in 16 characters of base32, 80 bits:
//
//	bit 0      1
//	bits 1-40  the account's number
//	bits 41-79 random
//
// so that whose it is can be told without looking anywhere. AWS's own are made so.
const (
	idBytes     = 10
	accountBits = 40
	accountAt   = 7 // bits of the first 48 that are below the account's
)

// Draw makes an access key of an account and its secret of 240 bits.
func Draw(account string, random io.Reader) (id, secret string, err error) {
	number, err := strconv.ParseUint(account, 10, accountBits)
	if err != nil {
		return "", "", fmt.Errorf("draw credentials: account %q: %w", account, err)
	}
	var raw [idBytes + 30]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", "", fmt.Errorf("draw credentials: %w", err)
	}
	var first [8]byte
	copy(first[2:], raw[:6])
	bits := binary.BigEndian.Uint64(first[:])&(1<<accountAt-1) | number<<accountAt | 1<<47
	binary.BigEndian.PutUint64(first[:], bits)
	copy(raw[:6], first[2:])
	return Prefix + base32.StdEncoding.EncodeToString(raw[:idBytes]), base64.StdEncoding.EncodeToString(raw[idBytes:]), nil
}

// AccountOf is the account in the id of a temporary access key, and whether there is one.
func AccountOf(id string) (string, bool) {
	text, ok := strings.CutPrefix(id, Prefix)
	raw, err := base32.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) != idBytes || raw[0]&0x80 == 0 {
		return "", false
	}
	var first [8]byte
	copy(first[2:], raw[:6])
	number := binary.BigEndian.Uint64(first[:]) >> accountAt & (1<<accountBits - 1)
	account := fmt.Sprintf("%012d", number)
	return account, len(account) == 12
}
