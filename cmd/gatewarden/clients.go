package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/oauth2"
)

func newClients(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "clients", Short: "Manage OAuth 2.0 clients"}
	r := newRemote(parent, environ)
	parent.AddCommand(collection(r, func(c *client.Client) client.Collection[oauth2.Client] { return c.Clients }, "CLIENT ID\tNAME\tGRANT TYPES\tSCOPE",
		func(v oauth2.Client) string { return v.ID },
		func(v oauth2.Client) string {
			return fmt.Sprintf("%s\t%s\t%s\t%s", v.ID, v.Name, strings.Join(v.GrantTypes, ","), v.Scope)
		})...)

	create := &cobra.Command{Use: "create", Short: "Create a client", Args: cobra.NoArgs}
	fill := clientFlags(create)
	create.Flags().String("id", "", "client id; empty: a random one")
	create.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		body := fill()
		if id, _ := c.Flags().GetString("id"); id != "" {
			body["client_id"] = id
		}
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		created, err := api.Clients.Create(ctx, json.RawMessage(raw))
		if err != nil {
			return err
		}
		if c.Flags().Changed("format") {
			return r.print(c, created, "", nil)
		}
		fmt.Fprintln(c.OutOrStdout(), "OAuth 2.0 Client ID:", created.ID)
		if created.Secret != "" {
			fmt.Fprintln(c.OutOrStdout(), "OAuth 2.0 Client Secret:", created.Secret)
			if !c.Flags().Changed("secret") {
				fmt.Fprintln(c.ErrOrStderr(), "The secret was generated and is shown this once.")
			}
		}
		return nil
	})

	update := &cobra.Command{Use: "update id", Short: "Replace a client; without --secret it keeps its secret", Args: cobra.ExactArgs(1)}
	fillUpdate := clientFlags(update)
	update.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		body := fillUpdate()
		body["client_id"] = args[0]
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		updated, err := api.Clients.Replace(ctx, args[0], json.RawMessage(raw))
		if err != nil {
			return err
		}
		return r.print(c, updated, "", nil)
	})
	rotate := &cobra.Command{Use: "rotate-secret id", Short: "Give a client a new secret; those before stay good until end-rotated-secrets", Args: cobra.ExactArgs(1)}
	rotate.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		changed, err := api.RotateSecret(ctx, args[0])
		if err != nil {
			return err
		}
		if c.Flags().Changed("format") {
			return r.print(c, changed, "", nil)
		}
		fmt.Fprintln(c.OutOrStdout(), "OAuth 2.0 Client Secret:", changed.Secret)
		fmt.Fprintln(c.ErrOrStderr(), "The secret was generated and is shown this once. Secrets before it stay good until: gatewarden clients end-rotated-secrets "+changed.ID)
		return nil
	})
	end := &cobra.Command{Use: "end-rotated-secrets id", Short: "Leave a client its newest secret alone", Args: cobra.ExactArgs(1)}
	end.RunE = r.run(func(ctx context.Context, _ *cobra.Command, api *client.Client, args []string) error {
		return api.EndRotatedSecrets(ctx, args[0])
	})
	lifespans := &cobra.Command{Use: "set-lifespans id [name=duration]...", Short: "Replace the token lifespans of a client, by their names in its JSON without _token_lifespan; without any, the server's are in force", Args: cobra.MinimumNArgs(1)}
	lifespans.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		spans, err := lifespansOf(args[1:])
		if err != nil {
			return err
		}
		changed, err := api.SetLifespans(ctx, args[0], spans)
		if err != nil {
			return err
		}
		return r.print(c, changed.Lifespans, "", nil)
	})
	parent.AddCommand(create, update, rotate, end, lifespans)
	return parent
}

// lifespansOf reads arguments such as refresh_token_grant_access=1h.
func lifespansOf(args []string) (l oauth2.Lifespans, err error) {
	spans := map[string]string{}
	for _, arg := range args {
		name, span, found := strings.Cut(arg, "=")
		if !found {
			return l, usageError{fmt.Errorf("%q is not name=duration", arg)}
		}
		spans[strings.TrimSuffix(name, "_token_lifespan")+"_token_lifespan"] = span
	}
	raw, err := json.Marshal(spans)
	if err != nil {
		return l, err
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, usageError{fmt.Errorf("no such lifespan: %s", strings.TrimPrefix(err.Error(), "json: unknown field "))}
	}
	return l, nil
}

// clientFlags adds Hydra's flags and returns what turns those that were given into
// the client's JSON.
func clientFlags(c *cobra.Command) func() map[string]any {
	texts := map[string]*string{}
	lists := map[string]*[]string{}
	text := func(key, name, short, usage string) {
		texts[key] = c.Flags().StringP(name, short, "", usage)
	}
	list := func(key, name, short, usage string) {
		lists[key] = c.Flags().StringSliceP(name, short, nil, usage)
	}
	text("client_name", "name", "n", "name for people")
	text("client_secret", "secret", "", "secret; empty: a generated one")
	text("token_endpoint_auth_method", "token-endpoint-auth-method", "", "client_secret_basic, client_secret_post, none, private_key_jwt, tls_client_auth or self_signed_tls_client_auth")
	text("jwks_uri", "jwks-uri", "", "where the client's public keys are")
	text("sector_identifier_uri", "sector-identifier-uri", "", "whose clients see the same pairwise subjects")
	text("request_object_signing_alg", "request-object-signing-alg", "", "algorithm of signed authorization requests")
	text("backchannel_logout_uri", "backchannel-logout-callback", "", "where the client is told of logouts")
	text("frontchannel_logout_uri", "frontchannel-logout-callback", "", "page that ends the client's session in the browser")
	text("access_token_strategy", "access-token-strategy", "", "opaque or jwt")
	text("owner", "owner", "", "who the client belongs to")
	text("subject_type", "subject-type", "", "public")
	text("policy_uri", "policy-uri", "", "page about the use of data")
	text("tos_uri", "tos-uri", "", "page of terms of service")
	text("client_uri", "client-uri", "", "page about the client")
	text("logo_uri", "logo-uri", "", "logo of the client")
	list("redirect_uris", "callbacks", "c", "redirect URIs")
	list("grant_types", "grant-types", "g", "grant types")
	list("response_types", "response-types", "r", "response types")
	list("audience", "audience", "", "audiences that tokens may be for")
	list("post_logout_redirect_uris", "post-logout-callbacks", "", "where a logout may end")
	list("allowed_cors_origins", "allowed-cors-origins", "", "origins that may call the endpoints from a browser")
	list("contacts", "contacts", "", "addresses of people who look after the client")
	list("request_uris", "request-uris", "", "stored; no address of a request is ever fetched")
	switches := map[string]*bool{
		"skip_consent":                         c.Flags().Bool("skip-consent", false, "people are not asked for consent"),
		"skip_logout_consent":                  c.Flags().Bool("skip-logout-consent", false, "people are not asked at logouts"),
		"backchannel_logout_session_required":  c.Flags().Bool("backchannel-logout-session-required", false, "logout tokens name the session"),
		"frontchannel_logout_session_required": c.Flags().Bool("frontchannel-logout-session-required", false, "the logout page is told the session"),
	}
	extra := c.Flags().String("metadata", "", "an object of JSON that is kept with the client")
	public := c.Flags().Bool("is-public", false, "the client can keep no secret: --token-endpoint-auth-method none")
	scope := c.Flags().StringSliceP("scope", "a", nil, "scopes")
	return func() map[string]any {
		body := map[string]any{}
		for key, v := range texts {
			if *v != "" {
				body[key] = *v
			}
		}
		for key, v := range lists {
			if len(*v) > 0 {
				body[key] = *v
			}
		}
		for key, on := range switches {
			if *on {
				body[key] = true
			}
		}
		if *extra != "" {
			body["metadata"] = json.RawMessage(*extra)
		}
		if *public {
			body["token_endpoint_auth_method"] = "none"
		}
		if len(*scope) > 0 {
			body["scope"] = strings.Join(*scope, " ")
		}
		return body
	}
}
