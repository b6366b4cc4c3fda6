package rules

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/rules/match"
)

// Reason ids of decisions that no handler took.
const (
	ReasonAllowed            = "allowed"
	ReasonNoRuleMatch        = "no_rule_match"
	ReasonAmbiguousRules     = "ambiguous_rules"
	ReasonRuleBroken         = "rule_broken"
	ReasonMatchTimeout       = "match_timeout"
	ReasonMissingCredentials = "missing_credentials"
	ReasonDenied             = "access_denied" // an authorizer that gave no reason
	ReasonNotReady           = "rules_not_loaded"
	ReasonStale              = "rules_stale"
	ReasonPanic              = "handler_panic"
)

// Engine decides requests with the Set in force. The zero Engine has none and
// refuses every request as Unavailable.
type Engine struct {
	current atomic.Pointer[Set]
	// Fresh reports whether changes of stored rules are heard of in time. While it is
	// false, a Set with stored rules decides nothing: one of them may have been replaced
	// by a stricter one. Set it before the first request; nil: always.
	Fresh func() bool
}

// Swap puts s in force and returns the Set that was. Requests that are being
// decided finish with the Set they began with.
func (e *Engine) Swap(s *Set) (old *Set) { return e.current.Swap(s) }

// Set returns the Set in force, nil when none was loaded.
func (e *Engine) Set() *Set { return e.current.Load() }

// Decide decides r. It never panics; a handler that does refuses the request.
func (e *Engine) Decide(ctx context.Context, r *access.Request) access.Decision {
	return e.decide(ctx, r, nil)
}

// DecideTraced decides r like Decide and lists the steps in Decision.Trace.
func (e *Engine) DecideTraced(ctx context.Context, r *access.Request) access.Decision {
	t := &trace{}
	d := e.decide(ctx, r, t)
	d.Trace = t.steps
	return d
}

// trace collects steps; a nil trace collects none.
type trace struct{ steps []access.Step }

func (t *trace) start() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

func (t *trace) step(start time.Time, stage, handler, outcome, detail string) {
	if t != nil {
		t.steps = append(t.steps, access.Step{Stage: stage, Handler: handler, Outcome: outcome, Detail: detail, Duration: time.Since(start)})
	}
}

func (t *trace) failed(start time.Time, stage, handler string, err error) {
	if t != nil {
		t.step(start, stage, handler, "failed", err.Error())
	}
}

// run is the state of one decision.
type run struct {
	set   *Set
	rule  *rule // nil until one matched
	fresh func() bool
	trace *trace
	// stage and handler say what is running, for the report of a panic.
	stage, handler string
	// withheld are fields with credentials that go to no upstream and no service.
	withheld []string
	d        access.Decision
}

func (e *Engine) decide(ctx context.Context, r *access.Request, t *trace) access.Decision {
	s := run{set: e.current.Load(), fresh: e.Fresh, trace: t}
	if err := s.pipeline(ctx, r); err != nil {
		s.refuse(r, err)
	}
	return s.d
}

// pipeline runs the stages and sets d. An error refuses the request.
func (s *run) pipeline(ctx context.Context, r *access.Request) (err error) {
	defer s.recover(&err)
	if s.set == nil {
		return fault.New(fault.Unavailable, ReasonNotReady, "the access rules are not loaded yet")
	}
	if s.set.stored && s.fresh != nil && !s.fresh() {
		return rulesStale
	}
	if len(s.set.endpoints) > 0 {
		if served, err := s.serve(ctx, r); served {
			return err
		}
	}
	in := access.Input{Request: r}
	if err := s.match(&in); err != nil {
		return err
	}
	if s.rule.limits != nil {
		if err := s.limit(ctx, &in, false); err != nil {
			return err
		}
	}
	if err := s.authenticate(ctx, &in); err != nil {
		return err
	}
	if s.rule.limits != nil {
		if err := s.limit(ctx, &in, true); err != nil {
			return err
		}
	}
	in.Request = hide(in.Request, s.withheld)
	header, err := s.authorize(ctx, in)
	if err != nil {
		return err
	}
	if s.d.Pass, err = s.mutate(ctx, in, header); err != nil {
		return err
	}
	upstream := s.rule.upstream
	if s.rule.resolver != nil {
		if upstream, err = s.resolve(in); err != nil {
			return err
		}
	}
	s.d.Allow, s.d.Reason, s.d.Upstream = true, ReasonAllowed, upstream
	return nil
}

func (s *run) match(in *access.Input) error {
	s.stage = "match"
	start := s.trace.start()
	found, err := s.set.index.Find(in.Request)
	if err != nil {
		err = s.mismatch(err)
		s.trace.failed(start, "match", "", err)
		return err
	}
	s.rule = &s.set.rules[found.Rule]
	if s.rule.cors != nil {
		s.d.CORS = s.rule.cors
	}
	in.RuleID, in.Captures, s.d.RuleID = s.rule.id, found.Captures, s.rule.id
	if s.rule.broken {
		err := &fault.Error{Kind: fault.Internal, Reason: ReasonRuleBroken, Err: s.set.faulty[found.Rule][0]}
		s.trace.failed(start, "match", "", err)
		return err
	}
	s.trace.step(start, "match", "", "ok", s.rule.id)
	return nil
}

// mismatch classifies an error of the index.
func (s *run) mismatch(err error) error {
	var ambiguous *match.AmbiguousError
	var timeout *match.TimeoutError
	switch {
	case errors.Is(err, match.ErrNone):
		return noRuleMatch
	case errors.As(err, &ambiguous):
		a, b := s.set.defs.At(ambiguous.Rules[0]), s.set.defs.At(ambiguous.Rules[1])
		return &fault.Error{Kind: fault.Internal, Reason: ReasonAmbiguousRules,
			Err: fmt.Errorf("rule %q (%s) and rule %q (%s) both match", a.ID, a.Origin, b.ID, b.Origin)}
	case errors.As(err, &timeout):
		d := s.set.defs.At(timeout.Rule)
		return &fault.Error{Kind: fault.Unavailable, Reason: ReasonMatchTimeout, Message: "the request could not be matched in time",
			Err: fmt.Errorf("rule %q (%s): %w", d.ID, d.Origin, err)}
	}
	return err
}

// Errors without a cause of their own, made once. They are never changed.
var (
	rulesStale         = fault.New(fault.Unavailable, ReasonStale, "the access rules may be out of date")
	noRuleMatch        = fault.New(fault.NotFound, ReasonNoRuleMatch, "no access rule matches the request")
	missingCredentials = fault.New(fault.Unauthenticated, ReasonMissingCredentials, "the request carries no credentials that this rule accepts")
)

// authenticate asks the authenticators in order. The first that is responsible
// decides.
func (s *run) authenticate(ctx context.Context, in *access.Input) error {
	s.stage = "authn"
	for i := range s.rule.authenticators {
		h := &s.rule.authenticators[i]
		s.handler = h.name
		start := s.trace.start()
		var veil *veil
		if s.rule.withheld != nil {
			veil = s.rule.withheld[i].veil
		}
		subject, err := h.handler.Authenticate(ctx, veil.over(in.Request))
		switch {
		case err == nil:
			if subject.Via == "" {
				subject.Via = h.name
			}
			s.d.ResponseHeader, subject.ResponseHeader = union(s.d.ResponseHeader, subject.ResponseHeader), nil
			in.Subject, s.d.Subject = subject, subject
			s.d.Lease, _ = h.handler.(access.Lease)
			if s.d.Lease != nil && veil != nil {
				s.d.Lease = veil
			}
			if s.rule.withheld != nil {
				s.withheld = s.rule.withheld[i].from(in.Request)
			}
			s.trace.step(start, "authn", h.name, "ok", subject.ID)
			return nil
		case errors.Is(err, authn.ErrNoCredentials):
			s.trace.step(start, "authn", h.name, "skipped", err.Error())
		default:
			s.trace.failed(start, "authn", h.name, err)
			return s.rule.asking(err, i)
		}
	}
	return s.unanswered(ctx, in.Request)
}

// authorize asks the authorizers in order; all must allow. It returns the header
// fields that they want to send upstream.
func (s *run) authorize(ctx context.Context, in access.Input) (header http.Header, err error) {
	s.stage = "authz"
	for i := range s.rule.authorizers {
		h := &s.rule.authorizers[i]
		s.handler = h.name
		start := s.trace.start()
		verdict, err := h.handler.Authorize(ctx, in)
		if err != nil {
			s.trace.failed(start, "authz", h.name, err)
			return nil, err
		}
		if !verdict.Allow {
			reason := verdict.Reason
			if reason == "" {
				reason = ReasonDenied
			}
			s.trace.step(start, "authz", h.name, "denied", reason)
			message := verdict.Message
			if message == "" {
				message = "the request is not allowed"
			}
			return nil, fault.New(fault.Forbidden, reason, message)
		}
		for name, values := range verdict.Header {
			if header == nil {
				header = http.Header{}
			}
			header[http.CanonicalHeaderKey(name)] = values
		}
		s.trace.step(start, "authz", h.name, "ok", verdict.Reason)
	}
	return header, nil
}

// mutate runs the mutators in order and returns what goes upstream.
func (s *run) mutate(ctx context.Context, in access.Input, header http.Header) (access.Pass, error) {
	s.stage = "mutate"
	if len(s.rule.mutators) == 0 {
		return access.Pass{Subject: in.Subject, Set: header, Remove: s.withheld}, nil
	}
	if header == nil {
		header = http.Header{} // mutators need not ask
	}
	pass := &access.Pass{Subject: in.Subject, Set: header, Remove: s.withheld}
	for i := range s.rule.mutators {
		h := &s.rule.mutators[i]
		s.handler = h.name
		start := s.trace.start()
		if err := h.handler.Mutate(ctx, in, pass); err != nil {
			s.trace.failed(start, "mutate", h.name, err)
			return access.Pass{}, err
		}
		in.Subject = pass.Subject // a later mutator sees what an earlier one found out
		s.trace.step(start, "mutate", h.name, "ok", "")
	}
	return *pass, nil
}

// resolve makes the upstream of this request.
func (s *run) resolve(in access.Input) (*access.Upstream, error) {
	s.stage, s.handler = "upstream", ""
	start := s.trace.start()
	upstream, err := s.rule.resolver.resolve(in)
	if err != nil {
		s.trace.failed(start, "upstream", "", err)
		return nil, err
	}
	s.trace.step(start, "upstream", "", "ok", "")
	return upstream, nil
}

// recover turns a panic of the running handler into an error.
func (s *run) recover(err *error) {
	if p := recover(); p != nil {
		*err = &fault.Error{Kind: fault.Internal, Reason: ReasonPanic,
			Err: fmt.Errorf("panic in %s %s: %v\n%s", s.stage, s.handler, p, debug.Stack())}
		s.trace.step(time.Now(), s.stage, s.handler, "failed", "panic")
	}
}

// refuse sets d to a refusal for err, answered by the rule's first error handler
// that is for it, or else by the first such fallback.
func (s *run) refuse(r *access.Request, err error) {
	s.d = access.Decision{RuleID: s.d.RuleID, Subject: s.d.Subject, CORS: s.d.CORS, Reason: fault.ReasonOf(err), Err: err,
		ResponseHeader: union(s.d.ResponseHeader, fault.HeaderOf(err)), Served: s.d.Served}
	var reply *access.Reply
	if errors.As(err, &reply) {
		s.d.Refusal, s.d.Reason, s.d.Err = reply.Response, reply.Reason, reply.Err
		return
	}
	if s.rule != nil && !s.rule.broken {
		for i := range s.rule.errors {
			if s.answer(&s.rule.errors[i], r, err) {
				return
			}
		}
	}
	if s.set != nil {
		for i := range s.set.fallback {
			if s.answer(&s.set.fallback[i], r, err) {
				return
			}
		}
	}
	s.d.Refusal = lastResort(err)
}

// union joins the fields that the authenticator and the error have for the response.
// Neither is changed: they may be shared.
func union(a, b http.Header) http.Header {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	u := a.Clone()
	for name, values := range b {
		u[name] = append(u[name], values...)
	}
	return u
}

// answer reports whether h answered the refusal.
func (s *run) answer(h *errorHandler, r *access.Request, err error) (done bool) {
	s.stage, s.handler = "error", h.name
	var panicked error
	defer func() {
		if panicked != nil {
			s.d.Err = errors.Join(err, panicked)
			done = false
		}
	}()
	defer s.recover(&panicked)
	start := s.trace.start()
	if h.selective != nil && !h.selective.Answers(r, err) {
		s.trace.step(start, "error", h.name, "skipped", "")
		return false
	}
	s.d.Refusal = h.handler.Refuse(r, err)
	s.trace.step(start, "error", h.name, "ok", "")
	return s.d.Refusal.Status != 0
}

// lastResort answers when no error handler did.
func lastResort(err error) access.Response {
	status := fault.KindOf(err).HTTPStatus()
	text := http.StatusText(status)
	return access.Response{Status: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: fmt.Appendf(nil, `{"error":{"code":%d,"status":%q,"message":%q}}`+"\n", status, text, text)}
}
