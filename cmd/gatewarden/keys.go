package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/client"
)

func newKeys(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "keys", Short: "Manage JSON Web Key sets"}
	r := newRemote(parent, environ)
	create := &cobra.Command{Use: "create set [kid]", Short: "Make a key and add it to a set", Args: cobra.RangeArgs(1, 2)}
	algorithm := create.Flags().StringP("alg", "a", "RS256", "RS256, RS512, PS256, ES256, ES384, ES512, EdDSA, HS256 or HS512")
	use := create.Flags().StringP("use", "u", "sig", "sig or enc")
	create.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		n := manage.NewKey{Alg: *algorithm, Use: *use}
		if len(args) == 2 {
			n.ID = args[1]
		}
		made, err := api.CreateKey(ctx, args[0], n)
		if err != nil {
			return err
		}
		return r.print(c, made, "", nil)
	})
	get := &cobra.Command{Use: "get set [kid]", Short: "Show a set, private keys included but for the program's own", Args: cobra.RangeArgs(1, 2),
		RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
			set, err := api.Keys(ctx, args[0], args[1:]...)
			if err != nil {
				return err
			}
			return r.print(c, set, "", nil)
		})}
	remove := &cobra.Command{Use: "delete set [kid]", Short: "Delete a set or one key of it", Args: cobra.RangeArgs(1, 2),
		RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
			if err := api.DeleteKeys(ctx, args[0], args[1:]...); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "deleted", args)
			return err
		})}
	load := &cobra.Command{Use: "import set file...", Short: "Store keys of files of JSON Web Keys, sets or PEM in a set; a key of the same id is replaced, but not in the program's own sets", Args: cobra.MinimumNArgs(2)}
	usual := load.Flags().StringP("alg", "a", "", "the algorithm of keys that name none, as in PEM (RS256, ES256 to ES512 and EdDSA are found out)")
	load.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		all, err := readKeys(c, args[1:], *usual)
		if err != nil {
			return err
		}
		for _, k := range all {
			if err := api.PutKey(ctx, args[0], k.JSONWebKey); err != nil {
				return fmt.Errorf("%s: %w", k.place, err)
			}
			fmt.Fprintln(c.OutOrStdout(), k.KeyID)
		}
		return nil
	})
	show := func(c *cobra.Command, s manage.KeySchedule) error {
		return r.print(c, s, "KID\tALG\tSTATE\tSIGNS FROM\tPUBLISHED UNTIL", func(w io.Writer) {
			for _, k := range s.Keys {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Alg, cmp.Or(k.State, "-"), moment(k.SignsFrom), moment(k.PublishedUntil))
			}
		})
	}
	list := &cobra.Command{Use: "list set", Short: "List the keys of a set: which one signs, which come next, how long past ones are published", Args: cobra.ExactArgs(1),
		RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
			schedule, err := api.KeySchedule(ctx, args[0])
			if err != nil {
				return err
			}
			return show(c, schedule)
		})}
	rotate := &cobra.Command{Use: "rotate set", Short: "Give the keys of a set successors; in the program's own sets they are published at once and sign ten minutes later", Args: cobra.ExactArgs(1),
		RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
			schedule, err := api.RotateKeys(ctx, args[0])
			if err != nil {
				return err
			}
			return show(c, schedule)
		})}
	parent.AddCommand(create, list, get, remove, load, rotate)
	return parent
}

// moment is a time in a table.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
