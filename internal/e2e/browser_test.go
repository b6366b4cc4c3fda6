package e2e

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// browser keeps cookies and follows redirects among the program's own addresses; it
// stops at the first address that belongs to somebody else.
type browser struct {
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := client()
	c.Jar = jar
	t.Cleanup(c.CloseIdleConnections)
	return &browser{client: described(t, c)}
}

// get opens an address and returns the foreign address where it ends.
func (b *browser) get(t *testing.T, address string) *url.URL {
	t.Helper()
	for range 10 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		home := r.URL.Host
		res, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode < 300 || res.StatusCode > 399 {
			t.Fatalf("%s answered %s, want a redirect", address, res.Status)
		}
		next, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		if next.Host != home || strings.HasSuffix(next.Path, "/callback") {
			return next
		}
		address = next.String()
	}
	t.Fatal("the redirects do not end")
	return nil
}
