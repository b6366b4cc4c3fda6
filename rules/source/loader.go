package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// Options configure a Loader.
type Options struct {
	// Repositories are the members of access_rules.repositories.
	Repositories []string
	// Store holds the rules of the management API; nil: none. It is read by Load,
	// Reload and ReloadStored.
	Store    spec.Store
	Compiler *rules.Compiler
	Engine   *rules.Engine
	// HTTP fetches remote repositories; required when there are any.
	HTTP *http.Client
	// Dial opens connections to git servers over SSH; default net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// CacheDir holds a copy of what each remote repository held when it was last
	// readable, for a start while it is not; empty: no copies.
	CacheDir string
	// RefuseMissing refuses every request until each remote repository was read once
	// or a copy of it was found. Else the rules of the others are in force meanwhile.
	RefuseMissing bool
	// Poll is the time between attempts to read a source that failed; default 500 ms.
	// For a remote repository it doubles up to RemotePoll.
	Poll time.Duration
	// RemotePoll is the time between two looks at a remote repository; default 30 s.
	RemotePoll time.Duration
	// Reread is the time after which files are read again though no event came, as
	// on network file systems; default 30 s.
	Reread time.Duration
	// Log may be nil.
	Log *slog.Logger
	// Reloaded is called after every load that put a Set in force or found other
	// faults than the one before; it may be nil.
	Reloaded func(ok bool, version uint64, active, refused int)
	// Observe is called after every look at a source; it may be nil.
	Observe func([]SourceStatus)
}

// Status is the outcome of the last load.
type Status struct {
	// OK means that every source was read and no rule is refused.
	OK bool `json:"ok"`
	// Version is that of the Set in force; 0 before the first load.
	Version uint64 `json:"version"`
	// Active and Refused are numbers of rules.
	Active  int `json:"active"`
	Refused int `json:"refused"`
	// Errors are faults of sources and rules, and warnings, which leave OK true.
	Errors []spec.Fault `json:"errors,omitempty"`
	// Sources are the repositories in their order, then the database.
	Sources []SourceStatus `json:"sources"`
	// LoadedAt is when the Set in force was put there.
	LoadedAt time.Time `json:"loaded_at"`
}

// Loader keeps the rules of an Engine as its sources have them. Make one with New;
// its methods may be called from several goroutines.
type Loader struct {
	Options

	// mu is held while what was read is put in force. It is taken after the reading
	// lock of a source, so a reload of stored rules does not wait for a file or server.
	mu      sync.Mutex
	sources []*source
	stored  *source // nil without Store
	applied [sha256.Size]byte

	statusMu sync.Mutex
	status   Status
}

// source is a repository, or the database, with what was last read from it.
type source struct {
	name string
	repo repository // nil for the database
	// reading is held from before the repository is read until what it held was
	// accepted, so that nothing older overtakes it. Of several, those of earlier
	// sources are taken first.
	reading sync.Mutex
	kept    copies // of a remote repository

	units  []good
	faults []spec.Fault
	// known says that the units are known, if only from a copy; readAt is when the
	// repository was last read.
	known  bool
	readAt time.Time
	// revision is that of a remote repository when it was last read.
	revision string
}

// remote reports whether the source is reached over a network.
func (s *source) remote() bool {
	_, ok := s.repo.(remote)
	return ok
}

// good holds the definitions of a unit as they were last readable.
type good struct {
	name  string
	sum   [sha256.Size]byte
	rules spec.List
}

// New returns a Loader that has read nothing yet. The error names the members of
// access_rules.repositories that cannot be a source.
func New(o Options) (*Loader, error) {
	if o.Poll <= 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Reread <= 0 {
		o.Reread = 30 * time.Second
	}
	if o.RemotePoll <= 0 {
		o.RemotePoll = 30 * time.Second
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Loader{Options: o}
	var faults []error
	for i, text := range o.Repositories {
		repo, err := o.open(text, i+1)
		if err != nil {
			faults = append(faults, fmt.Errorf("access_rules.repositories[%d]: %w", i, err))
			continue
		}
		s := &source{name: repo.title(), repo: repo}
		if s.remote() {
			s.kept = copiesIn(o.CacheDir, text)
		}
		l.sources = append(l.sources, s)
	}
	if o.Store != nil {
		l.stored = &source{name: "database"}
	}
	return l, errors.Join(faults...)
}

// Load reads all sources for the first time and puts the Set in force. A file or
// database that cannot be read is an error, and nothing is in force then. A remote
// repository that cannot be read is none, and neither is a fault in a single rule:
// both are in the Status.
func (l *Loader) Load(ctx context.Context) error {
	defer l.read(ctx, l.sources)()
	l.readStored(ctx)
	var faults []error
	for _, s := range l.all() {
		for _, f := range s.faults {
			if s.remote() {
				continue
			}
			if s == l.stored {
				faults = append(faults, f)
			} else {
				faults = append(faults, fmt.Errorf("access_rules.repositories: %w", f))
			}
		}
	}
	if faults != nil {
		return errors.Join(faults...)
	}
	return l.apply(ctx)
}

// Reload reads all sources again. It returns when what they hold is in force. The
// error means that a source could not be read or the rules not be compiled; the
// definitions that were last readable stay in force. Faults of single rules are in
// the Status.
func (l *Loader) Reload(ctx context.Context) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	defer l.read(ctx, l.sources)()
	l.readStored(ctx)
	return errors.Join(l.apply(ctx), l.failure())
}

// ReloadStored reads the database again and leaves the repositories as they were.
// It returns when the stored rules are in force.
func (l *Loader) ReloadStored(ctx context.Context) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readStored(ctx)
	err := l.apply(ctx)
	if l.stored != nil && len(l.stored.faults) > 0 {
		err = errors.Join(err, l.stored.faults[0])
	}
	return err
}

// detach returns a context that outlives the caller's: a load that was asked for is
// brought to its end though the client who asked is gone.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

// Status returns the outcome of the last load.
func (l *Loader) Status() Status {
	l.statusMu.Lock()
	defer l.statusMu.Unlock()
	s := l.status
	s.Errors = slices.Clone(s.Errors)
	return s
}

func (l *Loader) all() []*source {
	if l.stored == nil {
		return l.sources
	}
	return append(slices.Clip(l.sources), l.stored)
}

// failure returns the faults of sources that could not be read.
func (l *Loader) failure() error {
	var faults []error
	for _, s := range l.all() {
		for _, f := range s.faults {
			faults = append(faults, f)
		}
	}
	return errors.Join(faults...)
}

// read reads the repositories of sources, all at the same time, and returns with
// their locks and mu held; the caller must call unlock.
func (l *Loader) read(ctx context.Context, sources []*source) (unlock func()) {
	for _, s := range sources {
		s.reading.Lock()
	}
	accept := make([]func(), len(sources))
	var reading sync.WaitGroup
	for i, s := range sources {
		reading.Go(func() {
			units, err := s.repo.read(ctx)
			accept[i] = func() { s.accept(units, err) }
		})
	}
	reading.Wait()
	l.mu.Lock()
	for _, f := range accept {
		f()
	}
	return func() {
		l.mu.Unlock()
		for _, s := range sources {
			s.reading.Unlock()
		}
	}
}

// accept takes over what a repository was read to hold. Units that cannot be read
// or decoded keep their last good definitions. Of a remote repository that cannot be
// read for the first time, the copy is taken.
func (s *source) accept(units []unit, err error) {
	if err != nil {
		s.faults = []spec.Fault{{Source: s.name, Message: err.Error()}}
		if s.remote() {
			s.restore()
		}
		return
	}
	s.decode(units)
	s.known, s.readAt = true, time.Now()
	r, ok := s.repo.(remote)
	if !ok {
		return
	}
	s.revision = r.revision()
	if s.faults == nil {
		if err := s.kept.save(units); err != nil {
			s.faults = []spec.Fault{{Source: s.name, Message: "no copy could be kept in access_rules.cache_dir: " + err.Error(), Warning: true}}
		}
	}
}

// restore takes the copy when nothing better is known. That the rules in force may
// be old is a warning: the copy is there so that serving goes on.
func (s *source) restore() {
	fault := s.faults[0]
	if !s.known {
		units, err := s.kept.load()
		if err != nil {
			s.faults = append(s.faults, spec.Fault{Source: s.name, Message: "the copy in access_rules.cache_dir cannot be used: " + err.Error()})
		}
		if units == nil {
			return
		}
		s.decode(units)
		if s.faults != nil { // an earlier version could read it, and this one cannot
			s.units, s.faults = nil, append([]spec.Fault{fault}, s.faults...)
			return
		}
		s.known = true
	}
	fault.Warning = true
	fault.Message += "; the rules that were last read from there stay in force"
	s.faults = []spec.Fault{fault}
}

// decode replaces the definitions by those of units.
func (s *source) decode(units []unit) {
	s.faults = nil
	next := make([]good, 0, len(units))
	for _, u := range units {
		known := slices.IndexFunc(s.units, func(g good) bool { return g.name == u.name })
		g, err := decode(u, s.units, known)
		if err != nil {
			s.faults = append(s.faults, asFault(u.name, err))
			if known < 0 {
				continue
			}
			g = s.units[known]
		}
		next = append(next, g)
	}
	s.units = next
}

// decode returns the definitions of u, the known ones when its text is the same.
func decode(u unit, units []good, known int) (good, error) {
	if u.err != nil {
		return good{}, u.err
	}
	sum := sha256.Sum256(u.data)
	if known >= 0 && units[known].sum == sum {
		return units[known], nil
	}
	rules, err := spec.Decode(u.name, u.data)
	return good{u.name, sum, spec.ListOf(rules...)}, err
}

func asFault(source string, err error) spec.Fault {
	var f spec.Fault
	if errors.As(err, &f) {
		return f
	}
	return spec.Fault{Source: source, Message: err.Error()}
}

// readStored reads the database, in one statement and not in pages: a rule that is
// deleted between two pages would make the next page skip another, and its requests
// would fall to a broader rule.
func (l *Loader) readStored(ctx context.Context) {
	if l.stored == nil {
		return
	}
	stored, err := l.Store.Rules(ctx, math.MaxInt32, 0)
	if err != nil {
		l.stored.faults = []spec.Fault{{Source: "database", Message: err.Error()}}
		return
	}
	g := good{name: "database"}
	list := make([]spec.Rule, 0, len(stored))
	sum := sha256.New()
	for _, s := range stored {
		s.Rule.Origin = spec.Origin{Source: spec.Database}
		list = append(list, s.Rule)
		fmt.Fprintf(sum, "%q %q\n", s.Rule.ID, s.ETag)
	}
	sum.Sum(g.sum[:0])
	g.rules = spec.ListOf(list...)
	l.stored.faults, l.stored.units = nil, []good{g}
	l.stored.known, l.stored.readAt = true, time.Now()
}

// apply compiles what the sources hold and puts it in force, unless it is already.
func (l *Loader) apply(ctx context.Context) error {
	var faults []spec.Fault
	fingerprint := sha256.New()
	for _, s := range l.all() {
		faults = append(faults, s.faults...)
		for _, g := range s.units {
			var size [8]byte
			binary.BigEndian.PutUint64(size[:], uint64(len(g.name)))
			fingerprint.Write(bytes.Join([][]byte{size[:], []byte(g.name), g.sum[:]}, nil))
		}
	}
	sum := [sha256.Size]byte(fingerprint.Sum(nil))
	set := l.Engine.Set()
	var failed error
	swapped := set == nil || sum != l.applied
	switch {
	case set == nil && l.incomplete():
		swapped, failed = false, errors.New("not every source could be read, so no rules are in force")
	case swapped:
		next, err := l.Compiler.Compile(l.definitions(), set)
		if err != nil {
			failed, swapped = err, false
			faults = append(faults, spec.Fault{Message: err.Error()})
		} else {
			l.Engine.Swap(next)
			l.retire(ctx, set, next)
			set, l.applied = next, sum
		}
	}
	l.report(ctx, set, faults, swapped)
	return failed
}

// retire closes what next no longer needs.
func (l *Loader) retire(ctx context.Context, old, next *rules.Set) {
	if err := rules.Retire(old, next); err != nil {
		l.Log.WarnContext(ctx, "closing handlers that no rule uses any more failed", "error", err)
	}
}

// Use puts the rules in force as c compiles them, and has c compile later ones. When
// c is wrong, or cannot build handlers of rules that were in force, everything stays
// as it was and the error says what is wrong. A handler that c switches off is no
// error: its rules are refused, and the Status says so.
func (l *Loader) Use(ctx context.Context, c *rules.Compiler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.Engine.Set()
	next, err := c.Compile(l.definitions(), old)
	if err != nil {
		return err
	}
	if old != nil && next.Unbuilt() > old.Unbuilt() {
		var faults []error
		for _, f := range next.Faults() {
			if !f.Warning && !slices.Contains(old.Faults(), f) {
				faults = append(faults, f)
			}
		}
		_ = rules.Retire(next, old) // nobody has used what was built
		return errors.Join(faults...)
	}
	l.Engine.Swap(next)
	l.retire(ctx, old, next)
	l.Compiler = c
	var faults []spec.Fault
	for _, s := range l.all() {
		faults = append(faults, s.faults...)
	}
	l.report(ctx, next, faults, true)
	return nil
}

// definitions are those of all sources.
func (l *Loader) definitions() spec.List {
	var lists []spec.List
	for _, s := range l.all() {
		for _, g := range s.units {
			lists = append(lists, g.rules)
		}
	}
	return spec.Concat(lists...)
}

// incomplete reports whether what is missing must keep the rules from coming into
// force for the first time.
func (l *Loader) incomplete() bool {
	return slices.ContainsFunc(l.all(), func(s *source) bool {
		if s.remote() {
			return l.RefuseMissing && !s.known
		}
		return len(s.faults) > 0
	})
}

// report updates the Status, and says what is new about it.
func (l *Loader) report(ctx context.Context, set *rules.Set, faults []spec.Fault, swapped bool) {
	next := Status{Errors: faults, LoadedAt: time.Now(), Sources: l.sourceStatus()}
	if set != nil {
		next.Version, next.Refused = set.Version(), set.Refused()
		next.Active = set.Len() - set.Refused()
		next.Errors = append(next.Errors, set.Faults()...)
	}
	next.OK = set != nil && !slices.ContainsFunc(next.Errors, func(f spec.Fault) bool { return !f.Warning })
	l.statusMu.Lock()
	before := l.status
	if !swapped {
		next.LoadedAt = before.LoadedAt
	}
	l.status = next
	l.statusMu.Unlock()
	if l.Observe != nil {
		l.Observe(next.Sources)
	}
	if !swapped && slices.Equal(before.Errors, next.Errors) {
		return
	}
	for _, f := range next.Errors {
		level := slog.LevelError
		if f.Warning {
			level = slog.LevelWarn
		}
		l.Log.Log(ctx, level, "access rule fault", "place", spec.Origin{Source: f.Source, Line: f.Line}.String(), "rule", f.RuleID, "pointer", f.Pointer, "fault", f.Message)
	}
	message := "access rules loaded"
	if !swapped {
		message = "access rules kept as they were"
	}
	l.Log.InfoContext(ctx, message, "ok", next.OK, "version", next.Version, "active", next.Active, "refused", next.Refused)
	if l.Reloaded != nil {
		l.Reloaded(next.OK, next.Version, next.Active, next.Refused)
	}
}
