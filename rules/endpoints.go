package rules

import (
	"context"
	"errors"
	"slices"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/rules/match"
)

// endpoint is a path that an authenticator answers itself, on the hosts of the rules
// that use it.
type endpoint struct {
	named[authn.EndpointOwner]
	purpose string
	rules   []int
	hosts   []*match.Pattern // of rules
}

// on returns the first rule that may be for a host, -1 for none.
func (e *endpoint) on(host string) int {
	for i, p := range e.hosts {
		if p.OnHost(host) {
			return e.rules[i]
		}
	}
	return -1
}

// meets reports whether a rule of e may be for a host that p may be for.
func (e *endpoint) meets(p *match.Pattern) bool {
	return slices.ContainsFunc(e.hosts, p.SharesHost)
}

// endpoints reserves the paths of the handlers, and reports rules that name such a
// path themselves: no request would ever reach them.
func (b *build) endpoints(entries []match.Entry) {
	reserved := map[string][]endpoint{}
	for i := range b.set.rules {
		for _, h := range b.set.rules[i].authenticators {
			owner, ok := h.handler.(authn.EndpointOwner)
			if !ok {
				continue
			}
			for path, purpose := range owner.Endpoints() {
				list := reserved[path]
				n := slices.IndexFunc(list, func(e endpoint) bool { return e.handler == owner })
				if n < 0 {
					n, list = len(list), append(list, endpoint{named: named[authn.EndpointOwner]{h.name, owner}, purpose: purpose})
				}
				for _, other := range list {
					if other.purpose != purpose && other.meets(entries[i].Pattern) {
						b.blame(i, "/authenticators", "uses the path %q for %s, which rule %q uses for %s on the same host",
							path, purpose, b.set.rules[other.rules[0]].id, other.purpose)
					}
				}
				list[n].rules, list[n].hosts = append(list[n].rules, i), append(list[n].hosts, entries[i].Pattern)
				reserved[path] = list
			}
		}
	}
	b.set.endpoints = reserved
	if len(reserved) == 0 {
		return
	}
	for i := range b.set.rules {
		for _, path := range entries[i].Pattern.Paths() {
			if by := taken(reserved[path], entries[i].Pattern, path); by >= 0 {
				b.blame(i, "/match", "names the path %q, which an authenticator of rule %q (%s) answers itself",
					path, b.set.rules[by].id, b.set.defs.At(by).Origin)
			}
		}
	}
}

// taken returns the rule that reserves path on a host of p, -1 for none.
func taken(list []endpoint, p *match.Pattern, path string) int {
	for _, e := range list {
		for i, hosts := range e.hosts {
			if p.Names(path, hosts) {
				return e.rules[i]
			}
		}
	}
	return -1
}

// serve asks the handlers that have r's path on its host, and reports whether there
// are any. The error is their answer. What a login costs is counted like any request:
// under the limits of the first rule on that host which leads here.
func (s *run) serve(ctx context.Context, r *access.Request) (bool, error) {
	list := s.set.endpoints[r.URL.Path]
	var answer error
	counted := false
	for i := range list {
		e := &list[i]
		rule := e.on(r.URL.Host)
		if rule < 0 {
			continue
		}
		s.rule, s.d.RuleID, s.d.Served = &s.set.rules[rule], s.set.rules[rule].id, true
		if !counted && s.rule.limits != nil {
			if err := s.limit(ctx, &access.Input{Request: r, RuleID: s.rule.id}, false); err != nil {
				return true, err
			}
		}
		counted = true
		s.stage, s.handler = "endpoint", e.name
		start := s.trace.start()
		answer = e.handler.Serve(ctx, r)
		if !errors.Is(answer, authn.ErrNoCredentials) {
			s.trace.step(start, "endpoint", e.name, "ok", "")
			break
		}
		s.trace.step(start, "endpoint", e.name, "skipped", answer.Error())
	}
	return s.d.Served, answer
}
