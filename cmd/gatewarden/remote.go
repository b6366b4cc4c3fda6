package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/gatewarden/gatewarden/manage/client"
)

// remote is what commands that call the management API have in common.
type remote struct {
	environ  []string
	endpoint string
	token    string
	format   string
	insecure bool
	// certificate, key and authorities are files of PEM; see identity.
	certificate, key, authorities string
}

// newRemote adds the flags to a parent command.
func newRemote(c *cobra.Command, environ []string) *remote {
	r := &remote{environ: environ}
	aliases(c)
	c.PersistentFlags().StringVarP(&r.endpoint, "endpoint", "e", "", "management API (GATEWARDEN_ADMIN_URL, HYDRA_ADMIN_URL, OATHKEEPER_API_URL; default "+client.DefaultEndpoint+")")
	c.PersistentFlags().StringVar(&r.token, "access-token", "", "bearer token for the management API, also --token (GATEWARDEN_ADMIN_TOKEN)")
	c.PersistentFlags().StringVar(&r.certificate, "client-cert", "", "file of the TLS certificate to show (GATEWARDEN_CLIENT_CERT)")
	c.PersistentFlags().StringVar(&r.key, "client-key", "", "file of its key; default: that of the certificate (GATEWARDEN_CLIENT_KEY)")
	c.PersistentFlags().StringVar(&r.authorities, "ca-file", "", "file of authorities that the server's certificate may come from (GATEWARDEN_CA_FILE)")
	c.PersistentFlags().StringVar(&r.format, "format", "json-pretty", "table, json, json-pretty or yaml")
	c.PersistentFlags().BoolVar(&r.insecure, "skip-tls-verify", false, "accept any certificate; for trials only")
	return r
}

// variable returns the first variable that is set.
func (r *remote) variable(names ...string) string {
	for _, name := range names {
		for _, e := range r.environ {
			if value, found := strings.CutPrefix(e, name+"="); found && value != "" {
				return value
			}
		}
	}
	return ""
}

// connect returns a client of the management API.
func (r *remote) connect() (*client.Client, error) {
	endpoint, token := r.endpoint, r.token
	if endpoint == "" {
		endpoint = r.variable("GATEWARDEN_ADMIN_URL", "HYDRA_ADMIN_URL", "OATHKEEPER_API_URL")
	}
	if token == "" {
		token = r.variable("GATEWARDEN_ADMIN_TOKEN")
	}
	caller, err := r.http()
	if err != nil {
		return nil, err
	}
	c, err := client.New(endpoint, client.Options{Token: token, HTTP: caller})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// http returns the client that all calls use. It follows no redirect: what it sends holds
// credentials.
func (r *remote) http() (*http.Client, error) {
	c := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	own, err := r.identity()
	if err != nil {
		return nil, err
	}
	if own != nil {
		c.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: own}
	}
	return c, nil
}

// identity returns what the flags say of TLS; nil: nothing.
func (r *remote) identity() (*tls.Config, error) {
	file := func(flag, variable string) string {
		if flag != "" {
			return flag
		}
		return r.variable(variable)
	}
	certificate, key, authorities := file(r.certificate, "GATEWARDEN_CLIENT_CERT"), file(r.key, "GATEWARDEN_CLIENT_KEY"), file(r.authorities, "GATEWARDEN_CA_FILE")
	if !r.insecure && certificate == "" && key == "" && authorities == "" {
		return nil, nil
	}
	c := &tls.Config{InsecureSkipVerify: r.insecure} //nolint:gosec // what the flag asks for
	if key != "" && certificate == "" {
		return nil, usageError{errors.New("--client-key needs --client-cert")}
	}
	if certificate != "" {
		if key == "" {
			key = certificate
		}
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("--client-cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if authorities != "" {
		data, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--ca-file %s: holds no certificate", authorities)
		}
	}
	return c, nil
}

// run wraps a command that calls the API: it connects, and tells an API that does
// not answer from one that refuses.
func (r *remote) run(do func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if !slices.Contains([]string{"table", "json", "json-pretty", "yaml"}, r.format) {
			return usageError{fmt.Errorf("--format must be table, json, json-pretty or yaml, not %q", r.format)}
		}
		api, err := r.connect()
		if err != nil {
			return err
		}
		if err = do(c.Context(), c, api, args); errors.Is(err, client.ErrUnreachable) {
			return unreachableError{err}
		}
		return err
	}
}

// print writes a value as JSON, or rows as a table.
func (r *remote) print(c *cobra.Command, v any, header string, rows func(w io.Writer)) error {
	switch r.format {
	case "table":
		if rows == nil {
			break
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, header)
		rows(w)
		return w.Flush()
	case "json":
		e := json.NewEncoder(c.OutOrStdout())
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var node yaml.Node // keeps the order of the members
		if err := yaml.Unmarshal(data, &node); err != nil {
			return err
		}
		block(&node)
		return yaml.NewEncoder(c.OutOrStdout()).Encode(&node)
	case "json-pretty":
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetEscapeHTML(false) // patterns are full of < and >
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// block makes YAML of JSON look like YAML.
func block(n *yaml.Node) {
	n.Style = 0
	for _, inner := range n.Content {
		block(inner)
	}
}

// document is one thing to create and where it was read.
type document struct {
	place string
	body  json.RawMessage
}

// documents reads files of JSON or, by their names, YAML that hold one document or a
// list of them; - is the standard input.
func documents(c *cobra.Command, names []string) ([]document, error) {
	var all []document
	for _, name := range names {
		var data []byte
		var err error
		if name == "-" {
			data, err = io.ReadAll(c.InOrStdin())
		} else {
			data, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, err
		}
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
			var v any
			if err = yaml.Unmarshal(data, &v); err == nil {
				data, err = json.Marshal(v)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if data = bytes.TrimSpace(data); !bytes.HasPrefix(data, []byte("[")) {
			data = slices.Concat([]byte("["), data, []byte("]"))
		}
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				name = fmt.Sprintf("%s:%d", name, 1+bytes.Count(data[:syntax.Offset], []byte("\n")))
			}
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for i, body := range list {
			place := name
			if len(list) > 1 {
				place = fmt.Sprintf("%s: item %d", name, i+1)
			}
			all = append(all, document{place, body})
		}
	}
	return all, nil
}

// collection returns the commands import, list, get and delete of a kind of thing.
func collection[T any](r *remote, of func(*client.Client) client.Collection[T], header string, id func(T) string, row func(T) string) []*cobra.Command {
	rows := func(list []T) func(io.Writer) {
		return func(w io.Writer) {
			for _, v := range list {
				fmt.Fprintln(w, row(v))
			}
		}
	}
	return []*cobra.Command{
		{Use: "import file...", Short: "Create from files of JSON or YAML; - is the standard input", Args: cobra.MinimumNArgs(1),
			RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
				found, err := documents(c, args)
				if err != nil {
					return err
				}
				for _, d := range found {
					v, err := of(api).Create(ctx, d.body)
					if err != nil {
						return fmt.Errorf("%s: %w", d.place, err)
					}
					fmt.Fprintln(c.OutOrStdout(), id(v))
				}
				return nil
			})},
		{Use: "list", Short: "List all", Args: cobra.NoArgs,
			RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
				list, err := of(api).All(ctx, nil)
				if err != nil {
					return err
				}
				if list == nil {
					list = []T{} // [] and not null in JSON
				}
				return r.print(c, list, header, rows(list))
			})},
		{Use: "get id", Short: "Show one", Args: cobra.ExactArgs(1),
			RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
				v, err := of(api).Get(ctx, args[0])
				if err != nil {
					return err
				}
				return r.print(c, v, header, rows([]T{v}))
			})},
		{Use: "delete id...", Short: "Delete", Args: cobra.MinimumNArgs(1),
			RunE: r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
				for _, one := range args {
					if err := of(api).Delete(ctx, one); err != nil {
						return fmt.Errorf("%s: %w", one, err)
					}
				}
				return nil
			})},
	}
}
