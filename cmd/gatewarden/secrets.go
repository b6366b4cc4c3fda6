package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/app"
)

func newMigrateSecrets(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "secrets",
		Short: "Seal everything in the database with the first system secret",
		Long: "Seal everything in the database with the first of secrets.system: signing keys, sessions, tokens' sessions, consents and users.\n" +
			"It runs beside nodes that serve, in batches, and may be stopped and run again. Every node must have the new secret first and the old one\n" +
			"behind it before this begins; the old one can be dropped everywhere when it has ended with exit code 0.",
		Args: cobra.NoArgs,
	}
	files := configFlag(c)
	quiet := c.Flags().Bool("no-progress", false, "do not show a progress bar")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, _, err := load(*files, environ)
		if err != nil {
			return err
		}
		if cfg.DSN == "memory" {
			return usageError{errors.New("name a database in DSN or DATABASE_URL, or as dsn in a file; memory has nothing to keep")}
		}
		bar := newBar(c.ErrOrStderr(), environ, *quiet)
		done, err := app.Reseal(c.Context(), cfg.DSN, cfg.Secrets.System, func(at app.Resealed) {
			what := at.Table
			if at.Pass > 1 {
				what += ", looking again"
			}
			bar.draw(what, at.Seen, at.Total)
		})
		bar.clear()
		if err != nil {
			return fmt.Errorf("%w (%d rows are done; running again goes on)", err, done.Sealed)
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d rows were sealed anew. Everything is sealed with the first system secret; others can be dropped.\n", done.Sealed)
		return err
	}
	return c
}
