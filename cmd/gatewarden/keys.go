package main

import (
	"context"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/client"
)

// keysOf returns the keys of a document, which is one key or a set.
func keysOf(d document) ([]jose.JSONWebKey, error) {
	set, err := manage.ParseKeys(d.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.place, err)
	}
	if len(set.Keys) == 0 {
		key, err := manage.ParseKey(d.body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.place, err)
		}
		set.Keys = append(set.Keys, key)
	}
	for _, key := range set.Keys {
		if key.KeyID == "" {
			return nil, fmt.Errorf("%s: a key has no kid", d.place)
		}
	}
	return set.Keys, nil
}

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
	load := &cobra.Command{Use: "import set file...", Short: "Store keys of files of JSON Web Keys or sets in a set; a key of the same id is replaced", Args: cobra.MinimumNArgs(2),
		RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
			found, err := documents(c, args[1:])
			if err != nil {
				return err
			}
			for _, d := range found {
				keys, err := keysOf(d)
				if err != nil {
					return err
				}
				for _, key := range keys {
					if err := api.PutKey(ctx, args[0], key); err != nil {
						return fmt.Errorf("%s: %w", d.place, err)
					}
					fmt.Fprintln(c.OutOrStdout(), key.KeyID)
				}
			}
			return nil
		})}
	parent.AddCommand(create, get, remove, load)
	return parent
}
