package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/passwords"
)

// newCredentials returns the commands that make what the authenticators basic_auth and
// api_key are configured with. They ask no server.
func newCredentials() *cobra.Command {
	parent := &cobra.Command{Use: "credentials", Short: "Make hashes of passwords, and API keys", Args: cobra.NoArgs}
	hash := &cobra.Command{Use: "hash", Short: "Read a password from standard input and write its argon2id hash", Args: cobra.NoArgs}
	hash.RunE = func(c *cobra.Command, _ []string) error {
		password, err := firstLine(c.InOrStdin())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), passwords.Hash(password))
		return err
	}
	key := &cobra.Command{Use: "api-key", Short: "Make an API key and the hash that is configured", Args: cobra.NoArgs}
	prefix := key.Flags().String("prefix", "gw_key_", "what the key begins with")
	key.RunE = func(c *cobra.Command, _ []string) error {
		if strings.ContainsFunc(*prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return usageError{errors.New("--prefix must be visible ASCII")}
		}
		made := *prefix + rand.Text() + rand.Text() // 260 bits
		sum := sha256.Sum256([]byte(made))
		_, err := fmt.Fprintf(c.OutOrStdout(), "key: %s\nhash: sha256:%s\n", made, hex.EncodeToString(sum[:]))
		return err
	}
	parent.AddCommand(hash, key)
	return parent
}

// firstLine reads a password; what follows the first line is a mistake.
func firstLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(bufio.NewReader(io.LimitReader(r, 2*passwords.MaxLength)))
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case password == "":
		return "", usageError{errors.New("standard input has no password")}
	case len(password) > passwords.MaxLength:
		return "", usageError{fmt.Errorf("a password has at most %d bytes", passwords.MaxLength)}
	case strings.ContainsAny(password, "\r\n"):
		return "", usageError{errors.New("standard input has more than one line")}
	}
	return password, nil
}
