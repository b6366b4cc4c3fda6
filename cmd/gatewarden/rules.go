package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/rules/spec"
)

func newRules(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "rules", Short: "Manage access rules"}
	r := newRemote(parent, environ)
	parent.AddCommand(collection(r, func(c *client.Client) client.Collection[spec.Rule] { return c.Rules }, "ID\tMETHODS\tMATCH",
		func(v spec.Rule) string { return v.ID },
		func(v spec.Rule) string {
			return fmt.Sprintf("%s\t%s\t%s", v.ID, strings.Join(v.Match.Methods, ","), v.Match.URL)
		})...)
	parent.AddCommand(&cobra.Command{
		Use: "lint file...", Short: "Check rule files without a server", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			found := 0
			for _, name := range args {
				data, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				rules, err := spec.Decode(name, data)
				if err != nil {
					found++
					fmt.Fprintln(c.OutOrStdout(), err)
				}
				for _, rule := range rules {
					for _, f := range rule.Faults {
						found++
						fmt.Fprintln(c.OutOrStdout(), f)
					}
				}
			}
			if found > 0 {
				return fmt.Errorf("%d faults", found)
			}
			return nil
		},
	})
	return parent
}
