package testenv

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// patience bounds one step of a browser; a loaded machine may need some of it.
const patience = 60 * time.Second

// Browser is a headless Chromium with a profile of its own.
type Browser struct{ ctx context.Context }

// Chromium starts a browser, which ends with the test. Names are host:port of addresses
// that people type, and the address where it is served from; all others do not resolve.
// The certificates are trusted beside those that browsers trust. Where Chromium is not
// installed the test is skipped with the reason; under CI=true it fails.
func Chromium(t testing.TB, names map[string]string, trusted ...*x509.Certificate) *Browser {
	t.Helper()
	path := Program(t, "chromium")
	folder, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // its processes write for a moment after it has ended
		eventually := time.Now().Add(5 * time.Second)
		for os.RemoveAll(folder) != nil && time.Now().Before(eventually) {
			time.Sleep(50 * time.Millisecond)
		}
	})
	var rules, keys []string
	for name, address := range names {
		rules = append(rules, "MAP "+name+" "+address)
	}
	slices.Sort(rules)
	for _, c := range trusted {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		keys = append(keys, base64.StdEncoding.EncodeToString(sum[:]))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(folder, "profile")), chromedp.Env("HOME="+folder),
		chromedp.Flag("host-resolver-rules", strings.Join(append(rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"), ", ")),
		chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(keys, ",")),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true), chromedp.Flag("no-proxy-server", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's does not work for root
	}
	var output buffer
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, chromedp.CombinedOutput(&output))...)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		end()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil { // starts it
		t.Fatalf("%s: %v: %s", path, err, output.String())
	}
	return &Browser{ctx}
}

// Cookie is a cookie as the browser keeps it.
type Cookie struct {
	Name, Domain, Path      string
	Secure, HTTPOnly        bool
	SameSite                string // Strict, Lax, None; empty: the site did not say
	UntilTheBrowserIsClosed bool
}

// Cookies are all that the browser has, ordered by domain and name, without values.
func (b *Browser) Cookies(t testing.TB) []Cookie {
	t.Helper()
	all, err := chromedp.CallBrowser(b.ctx, storage.GetCookies, storage.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	var out []Cookie
	for _, c := range all.Cookies {
		out = append(out, Cookie{Name: c.Name, Domain: c.Domain, Path: c.Path, Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: string(c.SameSite), UntilTheBrowserIsClosed: c.Session})
	}
	slices.SortFunc(out, func(a, b Cookie) int { return strings.Compare(a.Domain+"\x00"+a.Name, b.Domain+"\x00"+b.Name) })
	return out
}

// CookieField is the Cookie field that the browser sends to a host: a copy, as a thief
// would have it.
func (b *Browser) CookieField(t testing.TB, host string) string {
	t.Helper()
	all, err := chromedp.CallBrowser(b.ctx, storage.GetCookies, storage.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, c := range all.Cookies {
		if c.Domain == host {
			list = append(list, c.Name+"="+c.Value)
		}
	}
	return strings.Join(list, "; ")
}

// Tab is a tab of a browser. A step that fails ends the test.
type Tab struct {
	t   testing.TB
	ctx context.Context
}

// Tab opens one; the tabs of a browser share its cookies.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	ctx, end := chromedp.NewContext(b.ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &Tab{t, ctx}
}

// Open types an address and returns the status of the page where it ends.
func (tab *Tab) Open(address string) int {
	tab.t.Helper()
	return tab.moves("open "+address, chromedp.Navigate(address))
}

// Click clicks on what a CSS selector finds, which leads to another page, and returns
// the status of that.
func (tab *Tab) Click(selector string) int {
	tab.t.Helper()
	return tab.moves("click on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Back is the button of the browser, pressed so many times. The page may come from the
// browser's memory, with no request at all.
func (tab *Tab) Back(times int) {
	tab.t.Helper()
	step(tab, "back", chromedp.Evaluate[int]("history.go("+strconv.Itoa(-times)+"), window.left = 1"))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
		arrived, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("window.left === undefined && document.readyState === 'complete'"))
		cancel()
		if err == nil && arrived {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("back: %v; %s", err, tab.state())
		}
	}
}

// Fill types text into a field of a form.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	step(tab, "fill in "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// See waits until the page shows a text, where one page leads to another by itself.
func (tab *Tab) See(text string) {
	tab.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
		shown, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.innerText"))
		cancel()
		if err == nil && strings.Contains(shown, text) {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("%q does not appear: %v; %s", text, err, tab.state())
		}
	}
}

// Authenticator gives the tab a virtual authenticator that verifies its person, as a
// phone would (WebAuthn section 11).
func (tab *Tab) Authenticator() {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{})
	if err == nil {
		_, err = chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Transport: "internal", HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
	}
	if err != nil {
		tab.t.Fatal(err)
	}
}

// Address is what the address bar says.
func (tab *Tab) Address() string {
	tab.t.Helper()
	return step(tab, "the address", chromedp.Location())
}

// Text is what the page shows.
func (tab *Tab) Text() string {
	tab.t.Helper()
	return step(tab, "the text", chromedp.Evaluate[string]("document.documentElement.innerText"))
}

// Fetched is what a script of a page gets.
type Fetched struct {
	Status     int    `json:"status"`
	Body       string `json:"body"`
	Redirected bool   `json:"redirected"`
	// Cookies are those that scripts can read.
	Cookies string `json:"cookies"`
}

// Fetch is a script of the page that asks for a path.
func (tab *Tab) Fetch(path string) Fetched {
	tab.t.Helper()
	return step(tab, "fetch "+path, chromedp.Evaluate[Fetched](
		"fetch("+strconv.Quote(path)+").then(async r => ({status: r.status, body: await r.text(), redirected: r.redirected, cookies: document.cookie}))",
		chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
}

// step does one thing in a tab.
func step[T any](tab *Tab, what string, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		tab.t.Fatalf("%s: %v; %s", what, err, tab.state())
	}
	return v
}

// moves does something after which another page is loaded, and returns its status.
func (tab *Tab) moves(what string, do chromedp.Action[chromedp.Void]) int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, do)
	if err != nil {
		tab.t.Fatalf("%s: %v; %s", what, err, tab.state())
	}
	return int(answer.Status)
}

// state says where a step that failed was made.
func (tab *Tab) state() string {
	ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
	defer cancel()
	address, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.innerText"))
	return "the tab is at " + address + " and shows " + strconv.Quote(text)
}
