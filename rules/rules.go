// Package rules decides requests by access rules.
//
// A Compiler turns definitions (package spec) into a Set, which is immutable: every
// pattern is indexed and every handler is built, so nothing is decoded or compiled
// on the request path. An Engine holds the Set in force behind one atomic pointer
// and decides requests with it: match, authenticators, authorizers, mutators, and
// on a refusal the error handler.
//
// A rule that is broken refuses the requests it matches. They do not fall to a
// broader rule, and no other rule is affected.
package rules

import (
	"fmt"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/rules/match"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// Set is a compiled set of rules. It is immutable and safe for concurrent use.
type Set struct {
	version             uint64
	index               *match.Index
	rules               []rule
	defs                spec.List
	faulty              map[int][]spec.Fault // what is wrong with the rules that are refused
	faults              []spec.Fault
	refused             int
	unbuilt             int
	buckets             *ratelimit.Buckets
	fallback            []errorHandler
	owned, ownedCookies []string
	sessionCookies      []string
	endpoints           map[string][]endpoint // by path
	shared              instances
	stored              bool // at least one rule is from the database
}

// rule is a compiled rule; defs and rules of a Set are parallel.
type rule struct {
	id     string
	broken bool // requests are refused
	*steps
}

// steps is what a rule does with a request. Rules that are written alike share them.
type steps struct {
	authenticators []named[authn.Authenticator]
	challenger     int        // index of an authn.Challenger; -1: none
	challenges     [][]string // by authenticator
	missing        error      // for a request without credentials
	withheld       []withheld // by who accepted; nil: nothing ever is
	authorizers    []named[authz.Authorizer]
	mutators       []named[mutators.Mutator]
	errors         []errorHandler
	upstream       *access.Upstream
	resolver       *resolver    // nil: upstream is the same for every request
	cors           *cors.Policy // nil: the listener's
	limits         []*ratelimit.Limit
}

// named is a handler with its name in the catalog, for traces and faults.
type named[H any] struct {
	name    string
	handler H
}

// errorHandler is a named errorhandlers.Handler; selective is nil for a handler
// that answers every refusal.
type errorHandler struct {
	named[errorhandlers.Handler]
	selective errorhandlers.Selective
}

// Version grows by one with every Set that was compiled from another.
func (s *Set) Version() uint64 { return s.version }

// Len returns the number of rules, refused ones included.
func (s *Set) Len() int { return s.defs.Len() }

// Refused returns the number of rules that are broken.
func (s *Set) Refused() int { return s.refused }

// Unbuilt returns the number of rules that are broken by the configuration of a
// handler, other than by switching it off.
func (s *Set) Unbuilt() int { return s.unbuilt }

// Rules returns the definitions in the order they were given, with Origin and
// Faults. The caller must not change them.
func (s *Set) Rules() []spec.Rule {
	list := make([]spec.Rule, 0, s.defs.Len())
	for i, r := range s.defs.All() {
		r.Faults = s.faulty[i]
		list = append(list, r)
	}
	return list
}

// Rule returns the first definition with the id.
func (s *Set) Rule(id string) (spec.Rule, bool) {
	i := s.defs.Find(id)
	if i < 0 {
		return spec.Rule{}, false
	}
	r := s.defs.At(i)
	r.Faults = s.faulty[i]
	return r, true
}

// Faults returns what is wrong with the rules, in their order, then the warnings
// about rules that tie.
func (s *Set) Faults() []spec.Fault { return s.faults }

// Routes returns the Routes that rules of this Set lead to.
func (s *Set) Routes() []*access.Route {
	var out []*access.Route
	for _, h := range s.shared {
		if r, ok := h.(*access.Route); ok {
			out = append(out, r)
		}
	}
	return out
}

// OwnedHeaders returns the canonical names of the header fields that mutators of
// this Set write, in order. The edges delete them from every inbound request.
func (s *Set) OwnedHeaders() []string { return s.owned }

// OwnedCookies returns the names of the cookies that mutators of this Set write, in
// order. The edges delete them from every inbound request.
func (s *Set) OwnedCookies() []string { return s.ownedCookies }

// SessionCookies returns what the names of the cookies begin with that authenticators
// of this Set keep sessions in, in order.
func (s *Set) SessionCookies() []string { return s.sessionCookies }

// warnings returns a fault for each pair of rules that tie for some requests.
func (s *Set) warnings(strict bool) []spec.Fault {
	var out []spec.Fault
	for _, c := range s.index.Conflicts() {
		a, b := s.defs.At(c.Rules[0]), s.defs.At(c.Rules[1])
		f := b.FaultAt("/match", "matches some of the requests of rule %q (%s) and neither comes first; these are refused, set a priority", a.ID, a.Origin)
		if strict {
			f.Message = fmt.Sprintf("matches some of the requests of rule %q (%s); these are refused", a.ID, a.Origin)
		}
		f.Warning = true
		out = append(out, f)
	}
	return out
}
