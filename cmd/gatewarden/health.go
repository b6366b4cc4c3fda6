package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
)

func newHealth(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "health", Short: "Ask a running server how it is"}
	r := newRemote(parent, environ)
	for _, probe := range []struct {
		use, short string
		ask        func(*client.Client, context.Context) error
	}{
		{"alive", "Exit 0 when the server runs", (*client.Client).Alive},
		{"ready", "Exit 0 when the server can do its work", (*client.Client).Ready},
	} {
		parent.AddCommand(&cobra.Command{Use: probe.use, Short: probe.short, Args: cobra.NoArgs,
			RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
				if err := probe.ask(api, ctx); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "ok")
				return err
			})})
	}
	return parent
}
