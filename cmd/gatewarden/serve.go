package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/app"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/supervisor"
	"github.com/gatewarden/gatewarden/telemetry"
)

func newServe(environ []string) *cobra.Command {
	serve := serveParts(environ, app.All, &cobra.Command{Use: "serve", Short: "Run the servers; without a part, all of them"})
	for _, part := range []struct {
		use, short string
		aliases    []string
		parts      app.Parts
	}{
		{"all", "Run proxy, management API and OAuth 2.0 endpoints in one process", nil, app.All},
		{"proxy", "Run the reverse proxy only", nil, app.Proxy},
		{"management", "Run the management API and the decision endpoint only", []string{"api", "admin"}, app.Management},
		{"public", "Run the OAuth 2.0 public endpoints only", []string{"oauth2"}, app.Public},
	} {
		serve.AddCommand(serveParts(environ, part.parts, &cobra.Command{Use: part.use, Short: part.short, Aliases: part.aliases}))
	}
	return serve
}

// serveParts makes c run servers.
func serveParts(environ []string, parts app.Parts, c *cobra.Command) *cobra.Command {
	files := configFlag(c)
	keys := map[string]string{"dev": "dev", "dangerous-force-http": "dev", "dangerous-expose-management": "management.dangerous_expose"}
	c.Flags().Bool("dev", false, "allow an issuer without TLS")
	c.Flags().Bool("dangerous-force-http", false, "the same as --dev")
	c.Flags().Bool("dangerous-expose-management", false, "serve the management API without authentication on any address")
	if parts == app.All {
		keys["demo"] = "demo"
		c.Flags().Bool("demo", false, "start with an echo API, a client, a policy and rules")
	}
	for _, name := range []string{"sqa-opt-out", "disable-telemetry"} {
		c.Flags().Bool(name, false, "accepted for compatibility; nothing is ever reported")
		_ = c.Flags().MarkHidden(name) // fails for an unknown flag only
	}
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		var flags []config.Flag
		for name, key := range keys {
			if f := c.Flags().Lookup(name); f.Changed {
				flags = append(flags, config.Flag{Name: "--" + name, Key: key, Value: f.Value.String()})
			}
		}
		cfg, warnings, err := load(*files, environ, flags...)
		if err != nil {
			return err
		}
		defer app.TuneHeap()()
		buffer := telemetry.NewBuffer(c.ErrOrStderr())
		defer func() { _ = buffer.Close() }() // standard error may be gone
		log, level := newLog(buffer, cfg)
		for _, w := range warnings {
			log.Warn(w)
		}
		process, err := supervisor.Inherit()
		if err != nil {
			return err
		}
		next, err := program()
		if err != nil {
			return err
		}
		upgrade := make(chan os.Signal, 1)
		if s := supervisor.UpgradeSignal(); s != nil {
			signal.Notify(upgrade, s)
			defer signal.Stop(upgrade)
		}
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		a, err := app.New(c.Context(), app.Options{
			Config: cfg, Parts: parts, Build: build(), Log: log, Output: c.OutOrStdout(), Reload: hangup,
			Process: process, Upgrade: upgrade, Next: func(ctx context.Context, sockets []supervisor.Handed) (int, error) {
				return process.Upgrade(ctx, next, os.Args, os.Environ(), sockets)
			},
			Read:  func() (*config.Config, []string, error) { return load(*files, environ, flags...) },
			Files: *files, Level: level,
		})
		if err != nil {
			process.Close()
			return err
		}
		return errors.Join(a.Run(c.Context()), a.Close())
	}
	return c
}

// program is the path that this program was started by: after an upgrade of its file, or
// of a link that leads there, the next one is there.
func program() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// configFlag adds --config to a command.
func configFlag(c *cobra.Command) *[]string {
	return c.Flags().StringSliceP("config", "c", nil, "configuration file; may be repeated, later files win")
}

// load reads the configuration and knows the program's handlers.
func load(files, environ []string, flags ...config.Flag) (*config.Config, []string, error) {
	return config.Load(config.Sources{Files: files, Environ: environ, Flags: flags, Handlers: app.HandlerDefaults(), Check: app.CheckHandler})
}

// newLog returns the program's log and its level, which may be changed.
func newLog(w io.Writer, cfg *config.Config) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(config.Level(cfg.Log.Level))
	if cfg.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), level
	}
	return slog.New(telemetry.NewJSON(w, level)), level
}

func newConfig(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Check the configuration"}
	validate := &cobra.Command{Use: "validate", Short: "Report every fault of files and environment", Args: cobra.NoArgs}
	files := configFlag(validate)
	validate.RunE = func(c *cobra.Command, _ []string) error {
		_, warnings, err := load(*files, environ)
		for _, w := range warnings {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), "The configuration is valid.")
		return err
	}
	parent.AddCommand(validate)
	return parent
}
