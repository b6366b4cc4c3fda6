package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagNames are the spellings of other generations of Hydra for flags.
var flagNames = map[string]string{
	"token":  "access-token",
	"scopes": "scope", "allowed-scopes": "scope",
	"grant-type": "grant-types", "response-type": "response-types",
	"redirect-uri": "callbacks", "contact": "contacts", "request-uri": "request-uris", "post-logout-callback": "post-logout-callbacks", "allowed-cors-origin": "allowed-cors-origins",
}

// aliases lets the commands below c understand flagNames.
func aliases(c *cobra.Command) {
	c.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if ours, found := flagNames[name]; found {
			name = ours
		}
		return pflag.NormalizedName(name)
	})
}

// things are the objects of Hydra 2's commands, which put the verb first.
var things = map[string]string{
	"client": "clients", "clients": "clients", "oauth2-client": "clients", "oauth2-clients": "clients",
	"jwk": "keys", "jwks": "keys", "token": "token", "trust-grant": "trust-grants", "trust-grants": "trust-grants",
}

// verbFirst rewrites create client to clients create, and so on.
func verbFirst(args []string) []string {
	if len(args) < 2 {
		return args
	}
	verb, thing := args[0], things[args[1]]
	switch {
	case verb == "perform" && args[1] == "client-credentials":
		verb, thing = "client", "token"
	case verb == "delete" && args[1] == "access-tokens" && len(args) > 2 && !strings.HasPrefix(args[2], "-"):
		return append([]string{"token", "delete", "--client-id", args[2]}, args[3:]...)
	case thing == "" || !slices.Contains(strings.Fields("create get list update delete import introspect revoke"), verb):
		return args
	}
	return append([]string{thing, verb}, args[2:]...)
}
