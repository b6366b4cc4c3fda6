package mutators

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/templates"
)

// CookieConfig says which cookies go upstream.
type CookieConfig struct {
	// Cookies maps cookie names to templates. No client can send cookies of these
	// names itself, on any route.
	Cookies map[string]string `json:"cookies"`
}

type cookie struct {
	names  []string
	values []*templates.Text
}

var (
	_ Mutator     = (*cookie)(nil)
	_ CookieOwner = (*cookie)(nil)
)

func newCookie(c CookieConfig) (Mutator, error) {
	var errs []error
	k := &cookie{}
	for _, name := range slices.Sorted(maps.Keys(c.Cookies)) {
		field := "cookies." + name
		if !templates.IsToken(name) {
			errs = append(errs, fmt.Errorf("%s: not a cookie name", field))
			continue
		}
		t, err := templates.Compile(field, c.Cookies[name])
		errs = append(errs, err)
		k.names, k.values = append(k.names, name), append(k.values, t)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return k, nil
}

// Mutate adds the cookies, all or none, in place of earlier ones of the same name.
func (k *cookie) Mutate(_ context.Context, in access.Input, p *access.Pass) error {
	added := make([]*http.Cookie, 0, len(k.names)+len(p.Cookies))
	for i, name := range k.names {
		value, err := k.values[i].Render(&in, p.Set)
		if err != nil {
			return fmt.Errorf("cookie: %w", err)
		}
		added = append(added, &http.Cookie{Name: name, Value: cookieValue(value)})
	}
	for _, old := range p.Cookies {
		if !slices.Contains(k.names, old.Name) {
			added = append(added, old)
		}
	}
	p.Cookies = added
	return nil
}

// OwnedCookies returns the configured names.
func (k *cookie) OwnedCookies() []string { return slices.Clone(k.names) }

// cookieValue percent-encodes the bytes that no cookie value can hold (cookie-octet
// of RFC 6265 section 4.1.1), so that a value can neither end its cookie nor the
// header field.
func cookieValue(s string) string {
	const hex = "0123456789ABCDEF"
	octet := func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != ',' && c != ';' && c != '\\' }
	bad := 0
	for i := range len(s) {
		if !octet(s[i]) {
			bad++
		}
	}
	if bad == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*bad)
	for i := range len(s) {
		if c := s[i]; octet(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
