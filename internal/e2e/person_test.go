package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"
)

// person is ada with her browsers: she logs in and agrees wherever the built-in pages
// ask her to. Programs of other languages send her to an address and are told where she
// ended.
type person struct {
	home      string // host of the pages
	transport http.RoundTripper
	mu        sync.Mutex
	browsers  map[string]http.CookieJar
}

// servePerson answers GET /?url=...&browser=... with the first address outside of home
// that the browser was sent to, or the page where it ended.
func servePerson(t *testing.T, home string, transport http.RoundTripper) string {
	t.Helper()
	p := &person{home: home, transport: transport, browsers: map[string]http.CookieJar{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, err := p.walk(r.FormValue("browser"), r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, end)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func (p *person) jar(browser string) (http.CookieJar, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.browsers[browser] == nil {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		p.browsers[browser] = jar
	}
	return p.browsers[browser], nil
}

func (p *person) walk(browser, address string) (string, error) {
	jar, err := p.jar(browser)
	if err != nil {
		return "", err
	}
	c := client()
	c.Transport, c.Jar = p.transport, jar
	r, err := http.NewRequest(http.MethodGet, address, nil)
	for range 20 {
		if err != nil {
			return "", err
		}
		if r.URL.Host != p.home {
			return r.URL.String(), nil
		}
		res, err2 := c.Do(r)
		if err2 != nil {
			return "", err2
		}
		body, err2 := io.ReadAll(res.Body)
		res.Body.Close()
		switch {
		case err2 != nil:
			return "", err2
		case res.StatusCode >= 300 && res.StatusCode <= 399:
			var next *url.URL
			if next, err = res.Location(); err == nil {
				r, err = http.NewRequest(http.MethodGet, next.String(), nil)
			}
		case res.StatusCode != http.StatusOK:
			return "", fmt.Errorf("%s answered %s: %s", r.URL, res.Status, body)
		case res.Header.Get("Refresh") != "":
			_, to, _ := strings.Cut(res.Header.Get("Refresh"), "url=")
			r, err = http.NewRequest(http.MethodGet, to, nil)
		case !strings.Contains(string(body), "<form"):
			return r.URL.String(), nil
		default:
			r, err = filled(r.URL, string(body))
		}
	}
	return "", errors.New("the pages do not end")
}

// filled is the first form of a page as ada sends it: with the first of its
// buttons, and asked never again.
func filled(at *url.URL, page string) (*http.Request, error) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return nil, err
	}
	var form *html.Node
	values, pressed := url.Values{}, false
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		has := map[string]bool{}
		of := map[string]string{}
		for _, a := range n.Attr {
			has[a.Key], of[a.Key] = true, a.Val
		}
		switch {
		case n.Data == "form" && form == nil:
			form = n
		case n.Data == "form":
			return nil, fmt.Errorf("%s has two forms", at)
		case form == nil || of["name"] == "" || has["disabled"]:
		case n.Data == "button" && !pressed:
			values.Set(of["name"], of["value"])
			pressed = true
		case n.Data == "input" && of["name"] == "login":
			values.Set("login", "ada")
		case n.Data == "input" && of["name"] == "password":
			values.Set("password", "correct-horse")
		case n.Data == "input" && (of["type"] != "checkbox" || has["checked"] || of["name"] == "remember"):
			values.Add(of["name"], of["value"])
		}
	}
	action := ""
	for _, a := range form.Attr {
		if a.Key == "action" {
			action = a.Val
		}
	}
	to, err := at.Parse(action)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(values.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://"+at.Host)
	}
	return r, err
}
