package rules

import (
	"context"
	"strconv"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// limits compiles the rate limits of a rule.
func (b *build) limits(d *spec.Rule, report reporter) []*ratelimit.Limit {
	var list []*ratelimit.Limit
	for i, o := range d.RateLimits {
		l, err := ratelimit.New(d.ID, i, o)
		if err == nil && b.Buckets == nil {
			report("/rate_limit", "cannot be counted here")
			return nil
		}
		if err != nil {
			report("/rate_limit/"+strconv.Itoa(i), "%s", err)
			continue
		}
		list = append(list, l)
	}
	return list
}

// limit counts the request under the rule's limits by what is known of everybody, or
// after authentication by subject. What is left is told to the client.
func (s *run) limit(ctx context.Context, in *access.Input, after bool) error {
	s.stage, s.handler = "rate_limit", ""
	start := s.trace.start()
	header, err := s.set.buckets.Check(ctx, s.rule.limits, after, in.Request, &in.Subject)
	if err != nil {
		s.trace.failed(start, "rate_limit", "", err)
		return err
	}
	if header != nil {
		for name, values := range s.d.ResponseHeader { // limits of the other kind stand first
			if _, both := header[name]; both {
				values = []string{values[0] + ", " + header[name][0]}
			}
			header[name] = values
		}
		s.d.ResponseHeader = header
		s.trace.step(start, "rate_limit", "", "ok", header["Ratelimit"][0])
	}
	return nil
}
