package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/app"
)

func newMigrate(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "migrate", Short: "Bring a database up to date"}
	sql := &cobra.Command{
		Use:   "sql [dsn]",
		Short: "Apply the schema steps that a database lacks",
		Long:  "Apply the schema steps that a database lacks. The database is the argument, or else the configured dsn (DSN, DATABASE_URL).",
		Args:  cobra.MaximumNArgs(1),
	}
	files := sql.PersistentFlags().StringSliceP("config", "c", nil, "configuration file; may be repeated, later files win")
	sql.PersistentFlags().BoolP("read-from-env", "e", false, "take the dsn from the environment (this is the default without an argument)")
	sql.PersistentFlags().BoolP("yes", "y", false, "accepted for compatibility; nothing is asked")

	dsn := func(args []string) (string, error) {
		target := ""
		if len(args) == 1 {
			target = args[0]
		} else {
			cfg, _, err := load(*files, environ)
			if cfg.DSN == "memory" && err != nil {
				return "", err // the faults may be why there is no dsn
			}
			target = cfg.DSN // other faults do not concern the schema
		}
		if target == "memory" {
			return "", usageError{errors.New("name a database: as argument, in DSN or DATABASE_URL, or as dsn in a file; memory has nothing to keep")}
		}
		return target, nil
	}
	up := func(c *cobra.Command, args []string) error {
		target, err := dsn(args)
		if err != nil {
			return err
		}
		applied, err := app.Migrate(c.Context(), target)
		for _, name := range applied {
			fmt.Fprintln(c.OutOrStdout(), "applied", name)
		}
		if err == nil && len(applied) == 0 {
			_, err = fmt.Fprintln(c.OutOrStdout(), "The schema is up to date.")
		}
		return err
	}
	sql.RunE = up
	sql.AddCommand(
		&cobra.Command{Use: "up [dsn]", Short: sql.Short, Args: cobra.MaximumNArgs(1), RunE: up},
		&cobra.Command{Use: "status [dsn]", Short: "List the schema steps and when they were applied", Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				target, err := dsn(args)
				if err != nil {
					return err
				}
				steps, err := app.MigrationStatus(c.Context(), target)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "STEP\tAPPLIED")
				for _, s := range steps {
					applied := "pending"
					if !s.AppliedAt.IsZero() {
						applied = s.AppliedAt.UTC().Format(time.RFC3339)
					}
					fmt.Fprintf(w, "%s\t%s\n", s.Name, applied)
				}
				return w.Flush()
			}},
	)
	parent.AddCommand(sql, newMigrateSecrets(environ))
	return parent
}
