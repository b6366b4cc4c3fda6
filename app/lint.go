package app

import (
	"context"
	"log/slog"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/telemetry"
)

// Lint compiles rules as New would and returns what is wrong with them, warnings
// included. It opens no listener and no database. The error is about cfg.
func Lint(ctx context.Context, cfg *config.Config, defs []spec.Rule) ([]spec.Fault, error) {
	private := *cfg
	private.DSN, private.Secrets = "memory", config.Secrets{}
	a := &App{
		cfg: &private, parts: All, metrics: telemetry.New(telemetry.Build{}),
		log: slog.New(slog.DiscardHandler), engine: new(rules.Engine),
	}
	defer a.Close()
	for _, open := range []func(context.Context) error{
		a.openStore, a.openKeys, a.openAuthorizationServer, a.openPolicies, a.openCompiler,
	} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	set, err := a.compiler.Load().Compile(spec.ListOf(defs...), nil)
	if err != nil {
		return nil, err
	}
	return set.Faults(), rules.Retire(set, nil)
}
