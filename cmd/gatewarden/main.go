// Command gatewarden is an identity-aware reverse proxy and access decision gateway
// with the OAuth 2.0 / OpenID Connect authorization server whose tokens it enforces.
//
// There is one file per command. Commands read flags and write output; everything
// else is elsewhere. Exit codes: 0 ok, 1 failed, 2 wrong usage, 4 not reachable.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/telemetry"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
	date    = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// usageError is wrong usage of a command: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// unreachableError is a server that does not answer: exit code 4.
type unreachableError struct{ err error }

func (e unreachableError) Error() string { return e.err.Error() }
func (e unreachableError) Unwrap() error { return e.err }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(verbFirst(args))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for _, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintln(stderr, "gatewarden:", line)
	}
	var wrong usageError
	var unreachable unreachableError
	switch {
	case errors.As(err, &wrong):
		return 2
	case errors.As(err, &unreachable):
		return 4
	}
	return 1
}

// newRoot returns the command tree.
func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:           "gatewarden",
		Short:         "Identity-aware proxy, access decisions, and the OAuth 2.0 server they trust",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(
		newServe(environ), newMigrate(environ), newConfig(environ), newVersion(),
		newHealth(environ), newRules(environ), newPolicies(environ), newClients(environ), newToken(environ), newKeys(environ), newTrustGrants(environ), newSessions(environ), newUsers(environ), newCredentials(),
		newManagementToken(),
	)
	strict(root)
	return root
}

// strict makes an unknown sub-command wrong usage: cobra would show help and exit 0.
func strict(c *cobra.Command) {
	if c.HasSubCommands() && c.HasParent() && c.RunE == nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())}
			}
			return nil
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	} else if inner := c.Args; inner != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := inner(c, args); err != nil {
				return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// build says which program this is.
func build() telemetry.Build {
	return telemetry.Build{Version: version, Commit: commit, Date: date}
}
