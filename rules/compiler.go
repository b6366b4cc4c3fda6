package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/rules/match"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// maxID is the longest id of a rule, Oathkeeper's documented limit.
const maxID = 190

// Settings is what the operator configured for one handler name.
type Settings struct {
	// Enabled must be set for rules to use the handler.
	Enabled bool
	// Config is the base that the configuration in a rule is laid over.
	Config handler.Raw
}

// Stage is one kind of handler: those that exist and how they are configured.
type Stage[H any] struct {
	Catalog  handler.Catalog[H]
	Settings map[string]Settings
}

// Compiler turns definitions into Sets. The zero Compiler knows no handlers.
type Compiler struct {
	Authenticators Stage[authn.Authenticator]
	Authorizers    Stage[authz.Authorizer]
	Mutators       Stage[mutators.Mutator]
	ErrorHandlers  Stage[errorhandlers.Handler]

	// Fallback names the error handlers for refusals that the rule's own do not
	// answer, and for those without a rule; default json. The handler json needs no
	// Settings to be used here.
	Fallback []string
	// Upstream is the URL for rules without one (BACKEND_URL); empty means that such
	// rules only decide.
	Upstream string
	// CheckRoute says what about a Route cannot be used, such as a file that is not
	// there; nil: nothing is looked at.
	CheckRoute func(*access.Route) error
	// Strategy is access_rules.matching_strategy; default match.Regexp.
	Strategy match.Strategy
	// RefuseOverlap is access_rules.on_overlap: refuse. It makes every second match
	// ambiguous, as in Oathkeeper.
	RefuseOverlap bool
	// Buckets count for the rate limits of rules. Nil: a rule with a limit is broken.
	Buckets *ratelimit.Buckets
	// OwnedHeaders are header names that are owned by the gateway whatever the rules
	// say.
	OwnedHeaders []string
}

// instance identifies a handler: equal ones are built once and shared, and carried
// over from one Set to the next so that their caches survive a reload.
type instance struct{ stage, name, base, override string }

type instances map[instance]any

// Compile returns a Set of all rules of defs. Faults of single rules are in
// Set.Faults and refuse only the requests of these rules. The error means that
// the Compiler itself is wrong: a fallback or the default upstream; there is no
// Set then. Old may be nil; it must come from a Compiler with the same catalogs. The
// Set keeps defs.
func (c *Compiler) Compile(defs spec.List, old *Set) (*Set, error) {
	strategy := c.Strategy
	if strategy == "" {
		strategy = match.Regexp
	}
	b := &build{Compiler: c, set: &Set{version: 1, buckets: c.Buckets, shared: instances{}}, ids: make(map[string]spec.Origin, defs.Len()),
		matches: match.NewCompiler(strategy), upstreams: map[string]*access.Upstream{}, steps: map[form]*steps{}, compacted: map[string]string{}}
	if old != nil {
		b.old = old.shared
		b.set.version = old.version + 1
	}
	if err := b.defaults(); err != nil {
		return nil, err
	}
	b.set.defs, b.set.faulty = defs, map[int][]spec.Fault{}
	b.set.rules = make([]rule, defs.Len())
	entries := make([]match.Entry, defs.Len())
	for i, d := range defs.All() {
		if len(d.Faults) > 0 {
			b.set.faulty[i] = slices.Clone(d.Faults)
		}
		b.set.stored = b.set.stored || d.Origin.Source == spec.Database
		b.misbuilt = false
		entries[i] = b.rule(i, &d)
		if b.misbuilt {
			b.set.unbuilt++
		}
	}
	b.own()
	b.endpoints(entries)
	for i := range b.set.rules {
		b.credentials(i)
		b.set.faults = append(b.set.faults, b.set.faulty[i]...)
	}
	b.set.refused = len(b.set.faulty)
	b.set.index = match.New(entries, c.RefuseOverlap)
	b.set.faults = append(b.set.faults, b.set.warnings(c.RefuseOverlap)...)
	return b.set, nil
}

// build is the state of one Compile.
type build struct {
	*Compiler
	set      *Set
	old      instances
	ids      map[string]spec.Origin
	matches  *match.Compiler
	upstream *access.Upstream
	// upstreams are shared by all rules that write them alike, by their JSON.
	upstreams map[string]*access.Upstream
	steps     map[form]*steps
	compacted map[string]string // by what was compacted
	misbuilt  bool              // a handler of the rule at hand could not be built
}

// form is what the steps of a rule follow from, but for rate limits, which count for
// each rule.
type form struct {
	shape  *spec.Rule
	groups int
}

// defaults builds what belongs to no rule.
func (b *build) defaults() error {
	if b.Upstream != "" {
		u, err := upstreamURL(b.Upstream)
		if err != nil {
			return fmt.Errorf("default upstream %w", err)
		}
		b.upstream = &access.Upstream{URL: u}
	}
	names := b.Fallback
	if len(names) == 0 {
		names = []string{"json"}
	}
	for _, name := range names {
		stage := b.ErrorHandlers
		if s, ok := stage.Settings[name]; !ok && name == "json" {
			s.Enabled = true
			stage.Settings = map[string]Settings{name: s}
		}
		h, err := obtain(b, "errors", stage, spec.Handler{Handler: name})
		if err != nil {
			return fmt.Errorf("errors.fallback: %w", err)
		}
		b.set.fallback = append(b.set.fallback, newErrorHandler(name, h))
	}
	return nil
}

// blame says what is wrong with rule i, which is refused then.
func (b *build) blame(i int, pointer, format string, args ...any) {
	d := b.set.defs.At(i)
	b.set.faulty[i] = append(b.set.faulty[i], d.FaultAt(pointer, format, args...))
	b.set.rules[i].broken = true
}

// rule compiles the definition d, which is number i.
func (b *build) rule(i int, d *spec.Rule) match.Entry {
	report := func(pointer, format string, args ...any) { b.blame(i, pointer, format, args...) }
	b.id(d, report)
	pattern, problems := b.matches.Compile(readable(d))
	for _, p := range problems {
		report(p.Pointer, "%s", p.Message)
	}
	f := form{b.set.defs.Shape(i), pattern.Groups()}
	known := b.steps[f]
	if known == nil {
		before := len(b.set.faulty[i])
		known = b.build(d, f.groups, report)
		if len(b.set.faulty[i]) == before && len(d.RateLimits) == 0 {
			b.steps[f] = known
		}
	}
	b.set.rules[i] = rule{d.ID, len(b.set.faulty[i]) > 0, known}
	return match.Entry{Pattern: pattern, Priority: d.Priority}
}

// build builds the steps of d, whose pattern has so many groups.
func (b *build) build(d *spec.Rule, groups int, report reporter) *steps {
	s := &steps{}
	if len(d.Authenticators) == 0 {
		report("/authenticators", "must name at least one handler")
	}
	s.authenticators = handlers(b, "authenticators", b.Authenticators, d.Authenticators, report)
	s.withheld = withholding(s.authenticators)
	s.challenge()
	switch {
	case d.Authorizer != nil && len(d.Authorizers) > 0:
		report("/authorizers", "cannot be combined with authorizer")
	case d.Authorizer != nil:
		if h, ok := one(b, "authorizers", b.Authorizers, *d.Authorizer, "/authorizer", report); ok {
			s.authorizers = []named[authz.Authorizer]{h}
		}
	case len(d.Authorizers) > 0:
		s.authorizers = handlers(b, "authorizers", b.Authorizers, d.Authorizers, report)
	default:
		report("/authorizer", "must be set")
	}
	s.mutators = handlers(b, "mutators", b.Mutators, d.Mutators, report)
	for _, h := range handlers(b, "errors", b.ErrorHandlers, d.Errors, report) {
		s.errors = append(s.errors, newErrorHandler(h.name, h.handler))
	}
	s.upstream, s.resolver = b.route(d.Upstream, groups, report)
	s.cors = crossOrigin(d.CORS, report)
	s.limits = b.limits(d, report)
	return s
}

// readable returns the match of d without the conditions that could not be read: a
// broken rule refuses too many requests rather than too few.
func readable(d *spec.Rule) spec.Match {
	m := d.Match
	for _, f := range d.Faults {
		if strings.HasPrefix(f.Pointer, "/match/headers") {
			m.Headers = nil
		}
		if strings.HasPrefix(f.Pointer, "/match/query") {
			m.Query = nil
		}
	}
	return m
}

// notEnabled is a handler that the operator switched off.
type notEnabled struct{ section, name string }

func (e *notEnabled) Error() string {
	return fmt.Sprintf("handler %q is not enabled, set %s.%s.enabled", e.name, e.section, e.name)
}

type reporter func(pointer, format string, args ...any)

func (b *build) id(d *spec.Rule, report reporter) {
	switch first, taken := b.ids[d.ID]; {
	case d.ID == "":
		report("/id", "must be set")
	case len(d.ID) > maxID:
		report("/id", "is longer than %d bytes", maxID)
	case strings.ContainsFunc(d.ID, unicode.IsControl):
		report("/id", "has a control character")
	case taken:
		report("/id", "is taken by the rule at %s", first)
	default:
		b.ids[d.ID] = d.Origin
	}
}

// handlers builds the handlers of one list.
func handlers[H any](b *build, stage string, s Stage[H], list []spec.Handler, report reporter) []named[H] {
	out := make([]named[H], 0, len(list))
	for i, h := range list {
		if built, ok := one(b, stage, s, h, "/"+stage+"/"+strconv.Itoa(i), report); ok {
			out = append(out, built)
		}
	}
	return out
}

func one[H any](b *build, stage string, s Stage[H], h spec.Handler, pointer string, report reporter) (named[H], bool) {
	built, err := obtain(b, stage, s, h)
	if err != nil {
		report(pointer, "%s", err)
		var off *notEnabled
		b.misbuilt = b.misbuilt || !errors.As(err, &off)
		return named[H]{}, false
	}
	return named[H]{h.Handler, built}, true
}

// obtain returns the handler that h stands for: the one that is already there, or
// a new one.
func obtain[H any](b *build, stage string, s Stage[H], h spec.Handler) (H, error) {
	var none H
	settings := s.Settings[h.Handler]
	if _, exists := s.Catalog[h.Handler]; exists && !settings.Enabled {
		section := stage
		if stage == "errors" {
			section = "errors.handlers"
		}
		return none, &notEnabled{section, h.Handler}
	}
	key := instance{stage, h.Handler, b.compact(settings.Config), b.compact(h.Config)}
	if built, ok := b.set.shared[key].(H); ok {
		return built, nil
	}
	if built, ok := b.old[key].(H); ok {
		b.set.shared[key] = built
		return built, nil
	}
	built, err := s.Catalog.Build(h.Handler, settings.Config, h.Config)
	if err != nil {
		return none, err
	}
	if any(built) == nil {
		return none, fmt.Errorf("handler %q was built without an error and yet is nil", h.Handler)
	}
	b.set.shared[key] = built
	return built, nil
}

// compact returns raw without insignificant space.
func (b *build) compact(raw handler.Raw) string {
	if known, ok := b.compacted[string(raw)]; ok {
		return known
	}
	text := string(raw)
	var short bytes.Buffer
	if json.Compact(&short, raw) == nil {
		text = short.String()
	}
	b.compacted[string(raw)] = text
	return text
}

func newErrorHandler(name string, h errorhandlers.Handler) errorHandler {
	selective, _ := h.(errorhandlers.Selective)
	return errorHandler{named[errorhandlers.Handler]{name, h}, selective}
}
