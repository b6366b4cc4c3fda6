// Package app puts the parts together: it is the only package that knows them all.
//
// New opens everything in the order in which things depend on each other (listeners,
// database, keys, authorization server, policies, rules, edges) and closes what it
// opened when a later step fails, so nothing is left half started. Run serves until
// its context ends, then drains.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/acme"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/decision"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/proxy"
	"github.com/gatewarden/gatewarden/redis"
	"github.com/gatewarden/gatewarden/registration"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/source"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/store/sql"
	"github.com/gatewarden/gatewarden/supervisor"
	"github.com/gatewarden/gatewarden/telemetry"
)

// Parts are the servers that a process runs.
type Parts uint8

// The parts.
const (
	Proxy Parts = 1 << iota
	Management
	Public
	All = Proxy | Management | Public
)

// Options of New. Config is required.
type Options struct {
	Config *config.Config
	Parts  Parts // zero: All
	Build  telemetry.Build
	Log    *slog.Logger // nil: nothing is logged
	// Output gets what a person should read at start; nil: nothing is printed.
	Output io.Writer
	// Reload asks for App.Reload (SIGHUP); may be nil.
	Reload <-chan os.Signal
	// Process is this process as its starter knows it; may be nil.
	Process *supervisor.Process
	// Upgrade asks for the next process, which Next starts and waits for; may be nil.
	Upgrade <-chan os.Signal
	Next    func(context.Context, []supervisor.Handed) (pid int, err error)
	// Read reads the configuration again, for App.Reload; nil: it stays as it is. Files
	// are those that it reads, which are watched.
	Read  func() (*config.Config, []string, error)
	Files []string
	// Level is the log's, which a reload may change; may be nil.
	Level *slog.LevelVar
}

// App is the whole program.
type App struct {
	cfg     *config.Config
	parts   Parts
	build   telemetry.Build
	log     *slog.Logger
	output  io.Writer
	reload  <-chan os.Signal
	upgrade upgrade
	process *supervisor.Process // may be nil
	read    func() (*config.Config, []string, error)
	files   []string
	level   *slog.LevelVar

	listeners []listener
	acme      *acme.Manager // nil: no certificates are got
	metrics   *telemetry.Metrics
	store     *sql.Store
	secrets   []string
	hasher    *secrets.Hasher
	rings     rings
	remotes   *keys.Remotes
	oauth2    *server.Server
	sectors   *manage.Sectors
	login     *login.Pages // nil: urls.login is somebody else's
	// registration is where clients register themselves; nil: nowhere.
	registration *registration.Endpoint
	metadata     *registration.Documents // nil: no client is one
	logouts      *relyingparty.Logouts
	policies     *policies.Engine
	catalogs     rules.Compiler // without settings
	compiler     atomic.Pointer[rules.Compiler]
	engine       *rules.Engine
	loader       *source.Loader
	tokens       *mutators.TokenCache
	redis        *redis.Client // nil: none
	proxy        *proxy.Proxy
	extAuthz     *decision.ExtAuthz
	follower     *follower
	hearings     hearings
	demo         *demo
	draining     atomic.Bool
	settings     atomic.Pointer[settings]
	decisions    []*decision.Handler
	reloading    reloading
}

// New opens the program. Its error names the setting that is wrong.
func New(ctx context.Context, o Options) (_ *App, err error) {
	a := &App{
		cfg: o.Config, parts: o.Parts, build: o.Build, log: o.Log, output: o.Output, reload: o.Reload,
		process: o.Process, upgrade: upgrade{asked: o.Upgrade, next: o.Next, done: make(chan error, 1)},
		read: o.Read, files: o.Files, level: o.Level,
		metrics: telemetry.New(o.Build), engine: new(rules.Engine),
	}
	a.reloading.cfg = o.Config
	if a.parts == 0 {
		a.parts = All
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.output == nil {
		a.output = io.Discard
	}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	for _, open := range []func(context.Context) error{
		a.openSettings, a.openRedis, a.openACME, a.listen, a.bindQUIC, a.openDemo, a.openStore, a.openKeys, a.openAuthorizationServer, a.openLogin, a.openRegistration, a.openPolicies, a.openCompiler, a.openRules, a.mount,
		a.watchCertificates,
	} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// openStore opens the database and starts to hear of what other nodes write.
func (a *App) openStore(ctx context.Context) error {
	a.secrets = a.cfg.Secrets.System
	if len(a.secrets) == 0 { // dsn is memory, which config made sure of
		a.secrets = []string{rand.Text() + rand.Text()}
	}
	s, err := sql.Open(ctx, sql.Options{DSN: a.cfg.DSN, Secrets: a.secrets, AutoMigrate: a.cfg.Migrate, Timeout: a.cfg.Storage.Timeout, Log: a.log})
	if err != nil {
		return err
	}
	bound := a.cfg.Storage.MaxStaleness
	if a.cfg.DSN == "memory" { // nobody else writes to it
		bound = 0
	}
	a.hearings = newHearings(bound, time.Now)
	a.engine.Fresh = a.hearings[store.Rules].fresh
	a.store, a.logouts = s, relyingparty.NewLogouts(s, a.hearings[store.Logouts].fresh)
	a.follower = &follower{changes: s, apply: a.apply, reload: a.applyAll, heard: a.hearings.heard, now: time.Now}
	if a.follower.revision, err = s.Revision(ctx); err != nil {
		return fmt.Errorf("dsn: %w", err)
	}
	a.hasher, err = secrets.New(secrets.Options{Keys: a.lasting(), Passwords: passwords.Options{OnCache: func(hit bool) { a.metrics.Cache("client_secret", hit) }}})
	if err != nil {
		return fmt.Errorf("secrets.system: %w", err)
	}
	if a.demo != nil {
		return a.demo.fill(ctx, s, a.hasher)
	}
	return nil
}

func (a *App) openDemo(context.Context) (err error) {
	if !a.cfg.Demo {
		return nil
	}
	if a.cfg.DSN != "memory" {
		return errors.New("--demo: keeps its data in memory; dsn must be memory")
	}
	a.demo, err = newDemo()
	return err
}

// openPolicies loads the policies.
func (a *App) openPolicies(ctx context.Context) error {
	a.policies = policies.New(a.store, a.store, a.hearings[store.Policies].fresh)
	return a.policies.Reload(ctx)
}

// work starts what runs beside the servers until ctx ends; call wait then.
func (a *App) work(ctx context.Context) (wait func()) {
	var running sync.WaitGroup
	running.Go(func() { a.loader.Run(ctx) })
	running.Go(func() { a.watch(ctx) })
	running.Go(func() {
		a.every(ctx, sweepEvery, "deleting expired rows", func(ctx context.Context) error {
			for {
				n, err := a.store.Sweep(ctx, a.now(), sweepBatch)
				if err != nil || n < sweepBatch {
					return err
				}
			}
		})
	})
	if a.cfg.OIDC.Registration.UnusedTTL > 0 {
		running.Go(func() { a.every(ctx, sweepEvery, "deleting unused clients", a.sweepRegistrations) })
	}
	running.Go(func() { a.every(ctx, keysEvery, "looking at signing keys", a.rings.reload) })
	if a.cfg.DSN != "memory" {
		running.Go(func() { a.every(ctx, pollEvery, "following changes of the database", a.follower.poll) })
	}
	return running.Wait
}

// greet tells a person who started without rules what to do next.
func (a *App) greet() {
	if len(a.cfg.AccessRules.Repositories) > 0 || a.engine.Set().Len() > 0 {
		return
	}
	a.log.Info("there are no rules, so every request is refused with no_rule_match; " +
		"name some in access_rules.repositories, POST one to /rules, or try serve all --demo")
	if a.cfg.DSN == "memory" {
		a.log.Info("data is kept in memory and gone after a stop; set dsn to keep it")
	}
}

// Close frees what New opened. Call it after Run.
func (a *App) Close() error {
	a.process.Close()
	for _, l := range a.listeners {
		_ = l.Listener.Close()
		if l.packets != nil {
			_ = l.packets.Close()
		}
	}
	if a.acme != nil {
		a.acme.Close()
	}
	if a.proxy != nil {
		a.proxy.Close()
	}
	if err := rules.Retire(a.engine.Swap(nil), nil); err != nil {
		a.log.Warn("closing handlers failed", "error", err)
	}
	if a.tokens != nil {
		a.tokens.Close()
	}
	if a.redis != nil {
		_ = a.redis.Close() // it keeps nothing that could be lost
	}
	if a.oauth2 != nil {
		a.oauth2.Close()
	}
	if a.metadata != nil {
		a.metadata.Close()
	}
	if a.demo != nil {
		a.demo.close()
	}
	if a.store != nil {
		a.logouts.Close()
		return a.store.Close()
	}
	return nil
}

// Migrate brings the schema of a database up to date.
func Migrate(ctx context.Context, dsn string) (applied []string, err error) {
	return sql.Migrate(ctx, sql.Options{DSN: dsn})
}

// Resealed tells how far Reseal is.
type Resealed = sql.Resealed

// Reseal seals everything in a database with the first of the system secrets, beside
// nodes that serve, and tells progress.
func Reseal(ctx context.Context, dsn string, secrets []string, progress func(Resealed)) (Resealed, error) {
	return sql.Reseal(ctx, sql.Options{DSN: dsn, Secrets: secrets}, progress)
}

// MigrationStatus lists the schema steps of a database.
func MigrationStatus(ctx context.Context, dsn string) ([]sql.Migration, error) {
	return sql.MigrationStatus(ctx, sql.Options{DSN: dsn})
}
