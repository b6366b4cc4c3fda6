package rules

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/fault"
)

// challenge finds out what the authenticators can be asked for.
func (r *steps) challenge() {
	r.challenger = slices.IndexFunc(r.authenticators, func(h named[authn.Authenticator]) bool {
		_, ok := h.handler.(authn.Challenger)
		return ok
	})
	r.challenges = make([][]string, len(r.authenticators))
	for i, h := range r.authenticators {
		if c, ok := h.handler.(authn.Challengeable); ok {
			r.challenges[i] = c.Challenges()
		}
	}
	r.missing = r.asking(missingCredentials, -1)
}

// unanswered refuses a request that no authenticator was responsible for: with an
// answer of the first Challenger's own, such as a redirect to a login, else with what
// all of them ask for.
func (s *run) unanswered(ctx context.Context, r *access.Request) error {
	i := s.rule.challenger
	if i < 0 {
		return s.rule.missing
	}
	h := &s.rule.authenticators[i]
	s.handler = h.name
	if err := h.handler.(authn.Challenger).Challenge(ctx, r); err != nil {
		return s.rule.asking(err, i)
	}
	return s.rule.missing
}

// asking adds to err, of the authenticator with index from, what the others of the rule
// can be asked for (RFC 9110 section 15.5.2), in the rule's order. Errors that are not
// Unauthenticated stay as they are.
func (r *steps) asking(err error, from int) error {
	var reply *access.Reply
	var own *fault.Error
	if errors.As(err, &reply) || !errors.As(err, &own) || own.Kind != fault.Unauthenticated {
		return err
	}
	all := make([]string, 0, 4)
	for i, can := range r.challenges {
		if i == from && own.Challenge != "" {
			all = append(all, own.Challenge)
		}
		for _, c := range can {
			if !covers(own.Challenge, c) && !slices.ContainsFunc(all, func(said string) bool { return covers(said, c) }) {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 || len(all) == 1 && all[0] == own.Challenge {
		return err
	}
	more := *own
	more.Challenge, more.OtherChallenges = all[0], all[1:]
	return &more
}

// covers reports whether who got the challenge said learns nothing from c: a scheme is
// asked for a second time for another realm only.
func covers(said, c string) bool {
	scheme, _, _ := strings.Cut(c, " ")
	other, _, _ := strings.Cut(said, " ")
	return said == c || strings.EqualFold(scheme, other) && !strings.Contains(c, "realm=")
}
