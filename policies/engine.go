package policies

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ory/ladon"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
)

// Engine decides by the policies of a store. Deny overrides allow, and what no
// policy allows is denied. Decisions read one immutable snapshot and never the
// store. An Engine that was not loaded decides nothing: fault.Unavailable.
type Engine struct {
	policies Store
	groups   GroupStore
	fresh    func() bool

	write   sync.Mutex // held while reading the store, so that snapshots never go back in time
	current atomic.Pointer[snapshot]
	failed  atomic.Pointer[error] // of the last load; nil when it went well
}

var _ authz.Warden = (*Engine)(nil)

// New returns an Engine that must be loaded with Reload. While fresh, which reports whether
// changes of the store are heard of in time, is false, it decides nothing: a policy that
// denies may be missing. Nil: always fresh.
func New(policies Store, groups GroupStore, fresh func() bool) *Engine {
	if fresh == nil {
		fresh = func() bool { return true }
	}
	return &Engine{policies: policies, groups: groups, fresh: fresh}
}

// Reload loads all policies and groups; unchanged policies are not compiled
// again. On error the old snapshot stays and Ready reports the error. A stored
// policy that is broken is no error: see Faults.
func (e *Engine) Reload(ctx context.Context) error {
	return e.change(func() (*snapshot, error) {
		// One statement, not pages: a row that is deleted between two pages would
		// make the next page skip another, perhaps a deny policy.
		stored, err := e.policies.Policies(ctx, math.MaxInt32, 0)
		if err != nil {
			return nil, err
		}
		groups, err := e.members(ctx)
		if err != nil {
			return nil, err
		}
		old := make(map[string]*compiled)
		if s := e.current.Load(); s != nil {
			for _, c := range s.all() {
				old[c.source.ID] = c
			}
		}
		list := make([]*compiled, len(stored))
		for i, p := range stored {
			if c, ok := old[p.ID]; ok && c.same(p) {
				list[i] = c
			} else {
				list[i] = compile(p)
			}
		}
		return newSnapshot(list, groups), nil
	})
}

// Refresh puts one policy in force as the store has it, or takes it out of force.
// Call it after every write and before the write is answered.
func (e *Engine) Refresh(ctx context.Context, id string) error {
	if e.current.Load() == nil {
		return e.Reload(ctx)
	}
	return e.change(func() (*snapshot, error) {
		p, err := e.policies.Policy(ctx, id)
		if fault.Is(err, fault.NotFound) {
			return e.current.Load().with(id, nil), nil
		}
		if err != nil {
			return nil, err
		}
		return e.current.Load().with(id, compile(p)), nil
	})
}

// RefreshGroups loads the groups; see Refresh.
func (e *Engine) RefreshGroups(ctx context.Context) error {
	if e.current.Load() == nil {
		return e.Reload(ctx)
	}
	return e.change(func() (*snapshot, error) {
		groups, err := e.members(ctx)
		if err != nil {
			return nil, err
		}
		next := *e.current.Load()
		next.groups = groups
		return &next, nil
	})
}

func (e *Engine) change(load func() (*snapshot, error)) error {
	e.write.Lock()
	defer e.write.Unlock()
	next, err := load()
	if err != nil {
		err = fault.Wrap(fault.Unavailable, "policies_not_loaded", "the policies could not be loaded", err)
		e.failed.Store(&err)
		return err
	}
	e.current.Store(next)
	e.failed.Store(nil)
	return nil
}

func (e *Engine) members(ctx context.Context) (map[string][]string, error) {
	groups, err := e.groups.Groups(ctx, "", math.MaxInt32, 0)
	if err != nil {
		return nil, err
	}
	of := make(map[string][]string)
	for _, g := range groups {
		for _, m := range g.Members {
			of[m] = append(of[m], g.ID)
		}
	}
	return of, nil
}

// Ready returns nil when policies are in force and the last load went well.
func (e *Engine) Ready() error {
	if err := e.failed.Load(); err != nil {
		return *err
	}
	if e.current.Load() == nil {
		return notLoaded()
	}
	return nil
}

func notLoaded() error {
	return fault.New(fault.Unavailable, "policies_not_loaded", "the policies are not loaded yet")
}

// Len counts the policies in force.
func (e *Engine) Len() int {
	s := e.current.Load()
	if s == nil {
		return 0
	}
	return len(s.base.policies) - len(s.gone) + len(s.recent.policies)
}

// Faults returns what is wrong with stored policies, by id. A broken deny policy
// applies wherever the rest of it matches; a broken allow policy never does.
func (e *Engine) Faults() map[string]error {
	faults := make(map[string]error)
	if s := e.current.Load(); s != nil {
		for _, c := range s.all() {
			if c.fault != nil {
				faults[c.source.ID] = c.fault
			}
		}
	}
	return faults
}

// Allowed decides for the subject and, as Hydra did, for each group that it is a
// member of: one deny policy is enough to deny, else one allow policy to allow.
// Errors: fault.Unavailable before the first load and while the policies are not fresh, fault.Timeout when nothing
// allowed and an allow policy could not be matched in time, and the context's.
func (e *Engine) Allowed(ctx context.Context, q authz.Question) (authz.Answer, error) {
	s := e.current.Load()
	if s == nil {
		return authz.Answer{}, notLoaded()
	}
	if !e.fresh() {
		return authz.Answer{}, fault.New(fault.Unavailable, "policies_stale", "the policies may be out of date")
	}
	if err := ctx.Err(); err != nil {
		return authz.Answer{}, err
	}
	d := &decision{request: ladon.Request{Resource: q.Resource, Action: q.Action, Context: q.Context}}
	d.ladon = ladon.Ladon{Manager: manager{decision: d}, Matcher: d, AuditLogger: d, Metric: noMetric{}}
	if denied, err := d.try(ctx, s, q.Subject); denied || err != nil {
		return d.answer, err
	}
	for _, group := range s.groups[q.Subject] {
		if denied, err := d.try(ctx, s, group); denied || err != nil {
			return d.answer, err
		}
	}
	if !d.answer.Allow {
		if d.clock.expired {
			return authz.Answer{}, fault.New(fault.Timeout, "policy_timeout", "a policy could not be matched in time")
		}
		d.answer.Reason = "no_policy_match"
	}
	return d.answer, nil
}

// decision is one question on its way through Ladon. It is Ladon's matcher and
// audit logger, so that what decided is known.
type decision struct {
	ladon   ladon.Ladon
	request ladon.Request
	pool    ladon.Policies
	clock   budget
	answer  authz.Answer
}

// try asks Ladon with one subject. The answer of an earlier subject stays unless
// this one is denied by a policy.
func (d *decision) try(ctx context.Context, s *snapshot, subject string) (denied bool, err error) {
	d.request.Subject = subject
	d.pool = s.candidates(subject, d.request.Action, d.request.Resource)
	if len(d.pool) == 0 {
		return false, nil // what Ladon would say, without a goroutine and a stack trace
	}
	err = d.ladon.IsAllowed(ctx, &d.request)
	switch {
	case err == nil || errors.Is(err, ladon.ErrRequestDenied):
		return false, nil
	case errors.Is(err, ladon.ErrRequestForcefullyDenied):
		return true, nil
	}
	d.answer = authz.Answer{}
	return false, fault.Wrap(fault.Internal, "", "decide by policies", err)
}

// Matches is Ladon's question whether one field of a policy matches.
func (d *decision) Matches(p ladon.Policy, haystack []string, needle string) (bool, error) {
	c, ok := p.(*compiled)
	if !ok {
		return false, errors.New("a policy of another kind")
	}
	if len(haystack) == 0 {
		return false, nil
	}
	field := slices.IndexFunc(c.templates[:], func(own []string) bool { return len(own) > 0 && &own[0] == &haystack[0] })
	if field < 0 {
		return false, errors.New("a field of another policy")
	}
	switch c.match(field, needle, &d.clock) {
	case yes:
		return true, nil
	case no:
		return false, nil
	}
	return !c.AllowAccess(), nil
}

// LogRejectedAccessRequest records the deny policy, which is the last decider.
func (d *decision) LogRejectedAccessRequest(_ context.Context, _ *ladon.Request, _, deciders ladon.Policies) {
	if len(deciders) > 0 {
		d.answer = authz.Answer{Reason: "policy_denied", Policies: []string{deciders[len(deciders)-1].GetID()}}
	}
}

// LogGrantedAccessRequest records the policies that allowed.
func (d *decision) LogGrantedAccessRequest(_ context.Context, _ *ladon.Request, _, deciders ladon.Policies) {
	d.answer.Allow, d.answer.Reason = true, "policy_allowed"
	for _, p := range deciders {
		d.answer.Policies = append(d.answer.Policies, p.GetID())
	}
}

// manager hands Ladon the candidates. Ladon calls no other method to decide; the
// embedded nil interface stands for those that write.
type manager struct {
	ladon.Manager
	decision *decision
}

// FindRequestCandidates returns the candidates of the subject that is being tried.
func (m manager) FindRequestCandidates(context.Context, *ladon.Request) (ladon.Policies, error) {
	return m.decision.pool, nil
}

// noMetric is not nil because Ladon fills a nil Metric in without a lock.
type noMetric struct{}

func (noMetric) RequestDeniedBy(ladon.Request, ladon.Policy)               {}
func (noMetric) RequestAllowedBy(ladon.Request, ladon.Policies)            {}
func (noMetric) RequestNoMatch(ladon.Request)                              {}
func (noMetric) RequestProcessingError(ladon.Request, ladon.Policy, error) {}
