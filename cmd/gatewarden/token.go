package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage/client"
)

func newToken(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "token", Short: "Get, inspect and revoke tokens"}
	r := newRemote(parent, environ)

	introspect := &cobra.Command{Use: "introspect token", Aliases: []string{"validate"}, Short: "Show what a token stands for", Args: cobra.ExactArgs(1)}
	scopes := introspect.Flags().StringSlice("scope", nil, "scopes that the token must have")
	introspect.Flags().String("client-id", "", "accepted for compatibility; the management API does not ask")
	introspect.Flags().String("client-secret", "", "accepted for compatibility; the management API does not ask")
	introspect.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		answer, err := api.Introspect(ctx, args[0], strings.Join(*scopes, " "))
		if err != nil {
			return err
		}
		return r.print(c, answer, "", nil)
	})

	remove := &cobra.Command{Use: "delete", Short: "Revoke every token of a client", Args: cobra.NoArgs}
	of := remove.Flags().String("client-id", "", "client whose tokens end")
	remove.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		if *of == "" {
			return usageError{errors.New("--client-id is required")}
		}
		return api.RevokeClientTokens(ctx, *of)
	})

	flush := &cobra.Command{Use: "flush", Short: "Delete tokens that expired", Args: cobra.NoArgs}
	age := flush.Flags().Duration("min-age", 0, "delete only what expired at least this long ago")
	flush.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		return api.Flush(ctx, time.Now().Add(-*age))
	})

	parent.AddCommand(introspect, remove, flush, newTokenClient(r), newTokenRevoke(r))
	return parent
}

// credentials are the flags of commands that act as an OAuth 2.0 client.
type credentials struct {
	remote   *remote
	id, pass string
}

func (k *credentials) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.id, "client-id", "", "client id (OAUTH2_CLIENT_ID); the endpoint is that of HYDRA_URL, or http://127.0.0.1:4444")
	c.Flags().StringVar(&k.pass, "client-secret", "", "client secret (OAUTH2_CLIENT_SECRET)")
}

// post sends a form to an endpoint as the client.
func (k *credentials) post(ctx context.Context, path string, form url.Values) ([]byte, error) {
	base, id, pass := k.remote.endpoint, k.id, k.pass
	if base == "" {
		base = k.remote.variable("HYDRA_URL")
	}
	if base == "" {
		base = "http://127.0.0.1:4444"
	}
	if id == "" {
		id = k.remote.variable("OAUTH2_CLIENT_ID")
	}
	if pass == "" {
		pass = k.remote.variable("OAUTH2_CLIENT_SECRET")
	}
	if id == "" {
		return nil, usageError{errors.New("--client-id or OAUTH2_CLIENT_ID is required")}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, usageError{err}
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(pass)) // RFC 6749 section 2.3.1
	caller, err := k.remote.http()
	if err != nil {
		return nil, err
	}
	res, err := caller.Do(r)
	if err != nil {
		return nil, unreachableError{err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		var refusal struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if json.Unmarshal(body, &refusal) == nil && refusal.Error != "" {
			return nil, fmt.Errorf("%s: %s", refusal.Error, refusal.Description)
		}
		return nil, fmt.Errorf("%s answered %s", r.URL, res.Status)
	}
	return body, nil
}

func newTokenClient(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "client", Short: "Get a token by client credentials; --endpoint is the OAuth 2.0 listener", Args: cobra.NoArgs}
	k := &credentials{remote: r}
	k.flags(c)
	scopes := c.Flags().StringSlice("scope", nil, "scopes to ask for")
	audience := c.Flags().StringSlice("audience", nil, "audiences to ask for")
	verbose := c.Flags().BoolP("verbose", "v", false, "print the whole answer")
	c.RunE = func(c *cobra.Command, _ []string) error {
		form := url.Values{"grant_type": {"client_credentials"}}
		if len(*scopes) > 0 {
			form.Set("scope", strings.Join(*scopes, " "))
		}
		if len(*audience) > 0 {
			form.Set("audience", strings.Join(*audience, " "))
		}
		body, err := k.post(c.Context(), "/oauth2/token", form)
		if err != nil {
			return err
		}
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		if *verbose || c.Flags().Changed("format") {
			return r.print(c, json.RawMessage(body), "", nil)
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), answer.AccessToken)
		return err
	}
	return c
}

func newTokenRevoke(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "revoke token", Short: "Revoke a token; --endpoint is the OAuth 2.0 listener", Args: cobra.ExactArgs(1)}
	k := &credentials{remote: r}
	k.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		_, err := k.post(c.Context(), "/oauth2/revoke", url.Values{"token": {args[0]}})
		return err
	}
	return c
}
