package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/policies"
)

func newPolicies(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "policies", Short: "Manage policies"}
	r := newRemote(parent, environ)
	parent.AddCommand(collection(r, func(c *client.Client) client.Collection[policies.Policy] { return c.Policies }, "ID\tEFFECT\tSUBJECTS\tACTIONS\tRESOURCES",
		func(v policies.Policy) string { return v.ID },
		func(v policies.Policy) string {
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", v.ID, v.Effect, strings.Join(v.Subjects, ","), strings.Join(v.Actions, ","), strings.Join(v.Resources, ","))
		})...)

	create := &cobra.Command{Use: "create", Short: "Create one policy from flags, or several from files", Args: cobra.NoArgs}
	var p policies.Policy
	var files []string
	var allow bool
	create.Flags().StringSliceVarP(&files, "files", "f", nil, "files that hold policies as JSON")
	create.Flags().StringVarP(&p.ID, "id", "i", "", "id; empty: a random one")
	create.Flags().StringVarP(&p.Description, "description", "d", "", "what the policy is for")
	create.Flags().StringSliceVarP(&p.Subjects, "subjects", "s", nil, "who, with patterns in <>")
	create.Flags().StringSliceVarP(&p.Resources, "resources", "r", nil, "on what, with patterns in <>")
	create.Flags().StringSliceVarP(&p.Actions, "actions", "a", nil, "does what, with patterns in <>")
	create.Flags().BoolVar(&allow, "allow", false, "allow; without it the policy denies")
	create.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		found, err := documents(c, files)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			p.Effect = "deny"
			if allow {
				p.Effect = "allow"
			}
			p.Conditions = map[string]json.RawMessage{}
			body, err := json.Marshal(p)
			if err != nil {
				return err
			}
			found = append(found, document{"flags", body})
		}
		for _, d := range found {
			created, err := api.Policies.Create(ctx, d.body)
			if err != nil {
				return fmt.Errorf("%s: %w", d.place, err)
			}
			fmt.Fprintln(c.OutOrStdout(), created.ID)
		}
		return nil
	})
	parent.AddCommand(create)
	return parent
}
