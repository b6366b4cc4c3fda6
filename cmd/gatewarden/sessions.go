package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/oauth2"
)

func newSessions(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "sessions", Short: "Show and end logins and consents of a subject"}
	r := newRemote(parent, environ)

	consents := &cobra.Command{Use: "consents subject", Short: "List what a subject has consented to", Args: cobra.ExactArgs(1)}
	consents.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		list, err := api.Consents(ctx, args[0])
		if err != nil {
			return err
		}
		if list == nil {
			list = []oauth2.ConsentGrant{} // [] and not null in JSON
		}
		return r.print(c, list, "CLIENT ID\tSCOPE\tAUDIENCE\tHANDLED AT", func(w io.Writer) {
			for _, g := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", g.ConsentRequest.Client.ID, strings.Join(g.GrantScope, ","), strings.Join(g.GrantAudience, ","), g.HandledAt.Format("2006-01-02T15:04:05Z07:00"))
			}
		})
	})

	revoke := &cobra.Command{Use: "revoke-consents subject", Short: "Revoke consents and all that was issued under them", Args: cobra.ExactArgs(1)}
	of := revoke.Flags().String("client-id", "", "one client; or --all")
	all := revoke.Flags().Bool("all", false, "all clients")
	revoke.RunE = r.run(func(ctx context.Context, _ *cobra.Command, api *client.Client, args []string) error {
		if (*of == "") != *all {
			return usageError{errors.New("either --client-id or --all is required")}
		}
		return api.RevokeConsents(ctx, args[0], *of)
	})

	end := &cobra.Command{Use: "end-logins [subject]", Short: "End the logins of a subject, or the one of --sid", Args: cobra.MaximumNArgs(1)}
	sid := end.Flags().String("sid", "", "one login, by the sid of its ID tokens")
	end.RunE = r.run(func(ctx context.Context, _ *cobra.Command, api *client.Client, args []string) error {
		if (len(args) == 0) != (*sid != "") {
			return usageError{errors.New("either a subject or --sid is required")}
		}
		if *sid != "" {
			return api.EndLogin(ctx, *sid)
		}
		return api.EndLogins(ctx, args[0])
	})
	parent.AddCommand(consents, revoke, end)
	return parent
}
