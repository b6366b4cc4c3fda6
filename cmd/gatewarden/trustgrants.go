package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/oauth2"
)

func newTrustGrants(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "trust-grants", Aliases: []string{"trust-grant"}, Short: "Manage whose assertions buy access tokens (RFC 7523)"}
	r := newRemote(parent, environ)
	parent.AddCommand(collection(r, func(c *client.Client) client.Collection[oauth2.TrustGrant] { return c.TrustGrants }, "ID\tISSUER\tSUBJECT\tSCOPE\tKEY\tEXPIRES",
		func(v oauth2.TrustGrant) string { return v.ID },
		func(v oauth2.TrustGrant) string {
			subject := v.Subject
			if v.AllowAnySubject {
				subject = "any"
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", v.ID, v.Issuer, subject, strings.Join(v.Scope, ","), v.PublicKey.KeyID, v.ExpiresAt.Format(time.RFC3339))
		})...)

	create := &cobra.Command{Use: "create", Short: "Trust the assertions of an issuer", Args: cobra.NoArgs}
	issuer := create.Flags().String("issuer", "", "iss of the assertions")
	subject := create.Flags().String("subject", "", "the one whom assertions may be about; or --allow-any-subject")
	anySubject := create.Flags().Bool("allow-any-subject", false, "assertions may be about anybody")
	scope := create.Flags().StringSliceP("scope", "a", nil, "scopes that can be had at most")
	file := create.Flags().String("jwk", "", "file of the public key that assertions are signed with, as JSON Web Key with kid")
	expires := create.Flags().String("expires-at", "", "end of the trust, such as 2030-01-31T00:00:00Z")
	create.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		until, err := time.Parse(time.RFC3339, *expires)
		if err != nil {
			return usageError{errors.New("--expires-at must be a time such as 2030-01-31T00:00:00Z")}
		}
		if *file == "" {
			return usageError{errors.New("--jwk is required")}
		}
		key, err := os.ReadFile(*file)
		if err != nil {
			return err
		}
		if !json.Valid(key) {
			return fmt.Errorf("%s: is not JSON", *file)
		}
		made, err := api.TrustGrants.Create(ctx, manage.NewTrustGrant{
			Issuer: *issuer, Subject: *subject, AllowAnySubject: *anySubject, Scope: *scope, JWK: key, ExpiresAt: until,
		})
		if err != nil {
			return err
		}
		return r.print(c, made, "", nil)
	})
	parent.AddCommand(create)
	return parent
}
