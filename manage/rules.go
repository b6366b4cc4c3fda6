package manage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// RuleChecker compiles one rule without putting it in force. Its error says what
// is wrong: a spec.Fault or a fault.Error, or several of them joined.
type RuleChecker interface {
	Check(ctx context.Context, r spec.Rule) error
}

// Rules manages the access rules of the database and shows those of other
// sources, which are changed where they come from.
type Rules struct {
	Store   spec.Store
	Checker RuleChecker
	Reload  Reloader
	// Others returns the rules in force that are not of the database, in order;
	// nil: there are none.
	Others func() []spec.Rule
}

// List returns up to limit rules from offset on: first those of other sources,
// then the database's by id.
func (s *Rules) List(ctx context.Context, limit, offset int) ([]spec.Rule, error) {
	rules := []spec.Rule{}
	others := s.others()
	for ; offset < len(others) && len(rules) < limit; offset++ {
		rules = append(rules, others[offset])
	}
	if len(rules) == limit {
		return rules, nil
	}
	stored, err := s.Store.Rules(ctx, limit-len(rules), offset-len(others))
	for _, r := range stored {
		rules = append(rules, r.Rule)
	}
	return rules, err
}

// Get returns a rule and its entity tag.
func (s *Rules) Get(ctx context.Context, id string) (spec.Rule, string, error) {
	if r, found := s.other(id); found {
		text, err := json.Marshal(r)
		sum := sha256.Sum256(text)
		return r, fmt.Sprintf("%x", sum[:12]), err
	}
	r, err := s.Store.Rule(ctx, id)
	return r.Rule, r.ETag, err
}

// Create stores a new rule; an empty id is replaced by a random one.
func (s *Rules) Create(ctx context.Context, r spec.Rule) (spec.Stored, error) {
	if r.ID == "" {
		r.ID = newID()
	}
	if err := s.check(ctx, r); err != nil {
		return spec.Stored{}, err
	}
	if other, found := s.other(r.ID); found {
		return spec.Stored{}, elsewhere(other)
	}
	stored, err := s.Store.CreateRule(ctx, r)
	if err != nil {
		return stored, err
	}
	return stored, apply(ctx, s.Reload)
}

// Replace changes a rule. A non-empty etag must be the stored one, else
// fault.Conflict.
func (s *Rules) Replace(ctx context.Context, r spec.Rule, etag string) (spec.Stored, error) {
	if err := s.check(ctx, r); err != nil {
		return spec.Stored{}, err
	}
	if other, found := s.other(r.ID); found {
		return spec.Stored{}, elsewhere(other)
	}
	stored, err := s.Store.ReplaceRule(ctx, r, etag)
	if err != nil {
		return stored, err
	}
	return stored, apply(ctx, s.Reload)
}

// Delete removes a rule; etag as for Replace.
func (s *Rules) Delete(ctx context.Context, id, etag string) error {
	if other, found := s.other(id); found {
		return elsewhere(other)
	}
	if err := s.Store.DeleteRule(ctx, id, etag); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

func (s *Rules) check(ctx context.Context, r spec.Rule) error {
	faults := make([]error, 0, len(r.Faults))
	for _, f := range r.Faults {
		faults = append(faults, f)
	}
	if r.ID == "" || len(r.ID) > 255 || !utf8.ValidString(r.ID) || strings.ContainsFunc(r.ID, unicode.IsControl) {
		faults = append(faults, invalid("/id", "must be 1 to 255 bytes without control characters"))
	}
	if len(faults) == 0 {
		return s.Checker.Check(ctx, r)
	}
	return errors.Join(faults...)
}

func (s *Rules) others() []spec.Rule {
	if s.Others == nil {
		return nil
	}
	return s.Others()
}

func (s *Rules) other(id string) (spec.Rule, bool) {
	for _, r := range s.others() {
		if r.ID == id {
			return r, true
		}
	}
	return spec.Rule{}, false
}

func elsewhere(r spec.Rule) error {
	return fault.New(fault.Conflict, "rule_of_other_source", fmt.Sprintf("the rule %q comes from %s and can only be changed there", r.ID, r.Origin))
}
