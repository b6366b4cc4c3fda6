package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/app"
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
	lint := &cobra.Command{Use: "lint file...", Short: "Check rule files without a server, as serve would read them", Args: cobra.MinimumNArgs(1)}
	files := configFlag(lint)
	lint.RunE = func(c *cobra.Command, args []string) error {
		cfg, _, err := load(*files, environ)
		if err != nil {
			return err
		}
		found := 0
		report := func(fault error) {
			found++
			fmt.Fprintln(c.OutOrStdout(), fault)
		}
		var all []spec.Rule
		for _, name := range args {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			rules, err := spec.Decode(name, data)
			if err != nil {
				report(err)
			}
			all = append(all, rules...)
		}
		faults, err := app.Lint(c.Context(), cfg, all)
		if err != nil {
			return err
		}
		for _, f := range faults {
			report(f)
		}
		if found > 0 {
			return fmt.Errorf("faults found: %d", found)
		}
		return nil
	}
	parent.AddCommand(lint)
	return parent
}
