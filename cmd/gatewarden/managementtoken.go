package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"
)

// newManagementToken returns the command that makes what management.tokens is configured
// with. It asks no server.
func newManagementToken() *cobra.Command {
	parent := &cobra.Command{Use: "management-token", Short: "Make bearer tokens of the management API", Args: cobra.NoArgs}
	create := &cobra.Command{Use: "create", Short: "Make a token and the hash for management.tokens", Args: cobra.NoArgs}
	create.RunE = func(c *cobra.Command, _ []string) error {
		made := "gw_mgmt_" + rand.Text() + rand.Text() // 260 bits
		sum := sha256.Sum256([]byte(made))
		_, err := fmt.Fprintf(c.OutOrStdout(), "token: %s\nhash: sha256:%s\n", made, hex.EncodeToString(sum[:]))
		return err
	}
	parent.AddCommand(create)
	return parent
}
