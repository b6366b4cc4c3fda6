package spec

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with one rule, or with a whole source when
// RuleID is empty. It is an error.
type Fault struct {
	// Source and Line say where: a file name, inline:#N, a URL or database; the
	// line is 1-based and 0 when unknown.
	Source string `json:"source,omitempty"`
	Line   int    `json:"line,omitempty"`
	// RuleID is the rule's id, or #N for the Nth rule of a source that has none.
	RuleID string `json:"rule,omitempty"`
	// Pointer is the JSON pointer (RFC 6901) of the field inside the rule.
	Pointer string `json:"pointer,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Warning marks a finding that refuses no rule as a whole: two rules that tie
	// for some requests stay in force for all others.
	Warning bool `json:"warning,omitempty"`
}

var _ error = Fault{}

// Error returns source:line: rule "id": /pointer: message, without unknown parts.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Source != "" {
		b.WriteString(Origin{Source: f.Source, Line: f.Line}.String())
		b.WriteString(": ")
	}
	if f.RuleID != "" {
		fmt.Fprintf(&b, "rule %q: ", f.RuleID)
	}
	if f.Pointer != "" {
		b.WriteString(f.Pointer)
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// FaultAt returns a fault of the rule at pointer.
func (r *Rule) FaultAt(pointer, format string, args ...any) Fault {
	return Fault{Source: r.Origin.Source, Line: r.Origin.Line, RuleID: r.ID, Pointer: pointer, Message: fmt.Sprintf(format, args...)}
}
