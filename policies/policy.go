package policies

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ory/ladon"
)

// The three fields that are matched, in Ladon's order.
const (
	actions = iota
	subjects
	resources
	fields
)

var fieldNames = [fields]string{"actions", "subjects", "resources"}

// compiled is a policy that is ready to decide. It is never changed.
type compiled struct {
	source     Policy
	templates  [fields][]string
	patterns   [fields][]pattern
	conditions ladon.Conditions
	fault      error // what is wrong with the policy as written
}

var _ ladon.Policy = (*compiled)(nil)

// compile never fails: what is wrong makes a deny policy apply and an allow
// policy not, and only where it counts.
func compile(p Policy) *compiled {
	c := &compiled{source: p}
	deny := !c.AllowAccess()
	var faults []error
	if p.Effect != ladon.AllowAccess && p.Effect != ladon.DenyAccess {
		faults = append(faults, invalid("/effect", `must be "allow" or "deny"`))
	}
	for f, templates := range [fields][]string{p.Actions, p.Subjects, p.Resources} {
		// A copy of its own: the matcher tells the fields apart by their memory.
		c.templates[f] = slices.Clone(templates)
		at := "/" + fieldNames[f]
		if len(templates) == 0 {
			faults = append(faults, invalid(at, "must name at least one; a policy without never applies"))
		}
		for i, template := range templates {
			pattern := compilePattern(template, deny)
			c.patterns[f] = append(c.patterns[f], pattern)
			if pattern.broken != nil {
				faults = append(faults, invalid(fmt.Sprintf("%s/%d", at, i), pattern.broken.Error()))
			}
		}
	}
	c.conditions = make(ladon.Conditions, len(p.Conditions))
	for key, raw := range p.Conditions {
		condition, err := compileCondition(key, raw, deny)
		c.conditions[key] = condition
		if err != nil {
			faults = append(faults, err)
		}
	}
	c.fault = errors.Join(faults...)
	return c
}

// match tests one field.
func (c *compiled) match(field int, value string, clock *budget) truth {
	found := no
	for i := range c.patterns[field] {
		switch c.patterns[field][i].match(value, clock) {
		case yes:
			return yes
		case unknown:
			found = unknown
		}
	}
	return found
}

// Validate reports everything that is wrong with a policy as fault.Invalid errors
// with JSON pointers, joined.
func Validate(p Policy) error {
	fault := compile(p).fault
	if err := CheckID(p.ID); err != nil {
		fault = errors.Join(fault, invalid("/id", err.Error()))
	}
	return fault
}

// CheckID reports whether an id can name a policy or a group: 1 to 255 bytes of
// UTF-8 without control characters.
func CheckID(id string) error {
	if id == "" || len(id) > 255 || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return errors.New("must be 1 to 255 bytes without control characters")
	}
	return nil
}

func (c *compiled) same(p Policy) bool { return reflect.DeepEqual(c.source, p) }

// The methods of ladon.Policy.

// GetID returns the id.
func (c *compiled) GetID() string { return c.source.ID }

// GetDescription returns the description.
func (c *compiled) GetDescription() string { return c.source.Description }

// GetSubjects returns the subjects as written.
func (c *compiled) GetSubjects() []string { return c.templates[subjects] }

// AllowAccess reports whether the effect is exactly allow; all else denies.
func (c *compiled) AllowAccess() bool { return c.source.Effect == ladon.AllowAccess }

// GetEffect returns the effect as written.
func (c *compiled) GetEffect() string { return c.source.Effect }

// GetResources returns the resources as written.
func (c *compiled) GetResources() []string { return c.templates[resources] }

// GetActions returns the actions as written.
func (c *compiled) GetActions() []string { return c.templates[actions] }

// GetConditions returns the compiled conditions.
func (c *compiled) GetConditions() ladon.Conditions { return c.conditions }

// GetMeta returns the meta data.
func (c *compiled) GetMeta() []byte { return c.source.Meta }

// GetStartDelimiter returns <.
func (c *compiled) GetStartDelimiter() byte { return '<' }

// GetEndDelimiter returns >.
func (c *compiled) GetEndDelimiter() byte { return '>' }
