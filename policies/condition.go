package policies

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/ory/ladon"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/strictjson"
)

// check tests a context value; nil stands for a value that is missing.
type check func(value any, r *ladon.Request) truth

// condition is one compiled condition of a policy. Ladon's own conditions answer
// false when they cannot be evaluated, which lifts a deny policy; here that counts
// against the caller.
type condition struct {
	name  string
	check check
	deny  bool
}

var _ ladon.Condition = (*condition)(nil)

// GetName returns the type as written.
func (c *condition) GetName() string { return c.name }

// Fulfills reports whether the condition holds, or cannot be evaluated in a deny policy.
func (c *condition) Fulfills(_ context.Context, value any, r *ladon.Request) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = c.deny
		}
	}()
	switch c.check(value, r) {
	case yes:
		return true
	case no:
		return false
	}
	return c.deny
}

// conditionTypes are Ladon's condition types. Each takes the options, which may
// be empty, and returns the test.
var conditionTypes = map[string]func(options json.RawMessage) (check, error){
	"StringEqualCondition":      stringEqual,
	"StringMatchCondition":      stringMatch,
	"StringPairsEqualCondition": without(stringPairsEqual),
	"CIDRCondition":             cidr,
	"EqualsSubjectCondition":    without(equalsSubject),
	"BooleanCondition":          boolean,
	"ResourceContainsCondition": without(resourceContains),
}

// compileCondition returns the test and what is wrong with the condition as
// written. The test of a wrong condition is never nil: it cannot be evaluated.
func compileCondition(key string, raw json.RawMessage, deny bool) (*condition, error) {
	broken := &condition{deny: deny, check: func(any, *ladon.Request) truth { return unknown }}
	var written struct {
		Type    string          `json:"type"`
		Options json.RawMessage `json:"options"`
	}
	at := "/conditions/" + escape(key)
	if err := strict(raw, &written); err != nil {
		return broken, invalid(at, err.Error())
	}
	broken.name = written.Type
	build, ok := conditionTypes[written.Type]
	if !ok {
		return broken, invalid(at+"/type", fmt.Sprintf("unknown condition type %q", written.Type))
	}
	test, err := build(written.Options)
	if err != nil {
		return broken, invalid(at+"/options", err.Error())
	}
	return &condition{name: written.Type, check: test, deny: deny}, nil
}

func stringEqual(options json.RawMessage) (check, error) {
	var o struct {
		Equals string `json:"equals"`
	}
	err := strict(options, &o)
	return onString(func(s string, _ *ladon.Request) truth { return truthOf(s == o.Equals) }), err
}

// stringMatch is not anchored, as in Ladon. "." matches a line feed, so that a
// value cannot slip past a deny policy by having one; an allow policy that means a
// whole value must say ^ and $ anyhow.
func stringMatch(options json.RawMessage) (check, error) {
	var o struct {
		Matches string `json:"matches"`
	}
	if err := strict(options, &o); err != nil {
		return nil, err
	}
	re, err := regexp.Compile("(?s)" + o.Matches)
	if err != nil {
		return nil, fmt.Errorf("matches is not a regular expression: %w", err)
	}
	return onString(func(s string, _ *ladon.Request) truth { return truthOf(re.MatchString(s)) }), nil
}

func cidr(options json.RawMessage) (check, error) {
	var o struct {
		CIDR string `json:"cidr"`
	}
	if err := strict(options, &o); err != nil {
		return nil, err
	}
	_, network, err := net.ParseCIDR(o.CIDR)
	if err != nil {
		return nil, fmt.Errorf("cidr %q is not a network such as 10.0.0.0/8", o.CIDR)
	}
	return onString(func(s string, _ *ladon.Request) truth {
		ip := net.ParseIP(s)
		if ip == nil {
			return unknown
		}
		return truthOf(network.Contains(ip))
	}), nil
}

func boolean(options json.RawMessage) (check, error) {
	var o struct {
		Value bool `json:"value"`
	}
	err := strict(options, &o)
	return func(value any, _ *ladon.Request) truth {
		b, ok := value.(bool)
		if !ok {
			return unknown
		}
		return truthOf(b == o.Value)
	}, err
}

func equalsSubject(value any, r *ladon.Request) truth {
	return onString(func(s string, r *ladon.Request) truth { return truthOf(s == r.Subject) })(value, r)
}

// stringPairsEqual wants a list of pairs, each of two equal strings; an empty list holds.
func stringPairsEqual(value any, _ *ladon.Request) truth {
	pairs, ok := value.([]any)
	if !ok {
		return unknown
	}
	equal := true
	for _, v := range pairs {
		pair, ok := v.([]any)
		if !ok || len(pair) != 2 {
			return unknown
		}
		a, aOK := pair[0].(string)
		b, bOK := pair[1].(string)
		if !aOK || !bOK {
			return unknown
		}
		equal = equal && a == b
	}
	return truthOf(equal)
}

// resourceContains wants {"value", "delimiter"} and looks for the value, between
// delimiters if there is one, in the resource.
func resourceContains(value any, r *ladon.Request) truth {
	filter, ok := value.(map[string]any)
	if !ok {
		return unknown
	}
	text, ok := filter["value"].(string)
	if !ok || text == "" {
		return unknown
	}
	delimiter, _ := filter["delimiter"].(string)
	return truthOf(strings.Contains(delimiter+r.Resource+delimiter, delimiter+text+delimiter))
}

func onString(test func(string, *ladon.Request) truth) check {
	return func(value any, r *ladon.Request) truth {
		s, ok := value.(string)
		if !ok {
			return unknown
		}
		return test(s, r)
	}
}

// without is for the types that take no options.
func without(test check) func(json.RawMessage) (check, error) {
	return func(options json.RawMessage) (check, error) { return test, strict(options, &struct{}{}) }
}

// strict decodes one JSON object; nothing and null leave v as it is.
func strict(raw json.RawMessage, v any) error {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	if err := strictjson.Unmarshal(raw, v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// escape is RFC 6901 section 3.
func escape(token string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}

func invalid(pointer, message string) error {
	return &fault.Error{Kind: fault.Invalid, Reason: "invalid_policy", Pointer: pointer, Message: message}
}
