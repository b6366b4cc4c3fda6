package relyingparty

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

const (
	// attemptFor is how long a person may take to log in.
	attemptFor = 15 * time.Minute
	// maxAttempts bounds the logins that one browser has begun; the oldest go first.
	maxAttempts = 6
	// maxTarget bounds where a login returns to, in bytes.
	maxTarget = 1024
)

// attempt is a login that was begun: what the callback needs, in a cookie of its own,
// so that several tabs do not get into each other's way.
type attempt struct {
	Asked
	// Target is the path and query that the browser returns to.
	Target string `json:"t"`
	Began  int64  `json:"b"`
}

// attemptName is the name of the cookie of the attempt with a state.
func (p *Party) attemptName(r *access.Request, state string) string {
	sum := sha256.Sum256([]byte(state))
	return p.cookieName(r, "l") + "." + base64.RawURLEncoding.EncodeToString(sum[:9])
}

// begin sends the browser to the provider. Gone are cookies that are withdrawn by the
// way, cause is why the person has to log in.
func (p *Party) begin(ctx context.Context, r *access.Request, to string, gone []string, cause error) error {
	extra := url.Values{}
	if len(p.o.ACR) > 0 {
		extra.Set("acr_values", strings.Join(p.o.ACR, " "))
	}
	if p.o.MaxAge > 0 {
		extra.Set("max_age", strconv.FormatInt(seconds(p.o.MaxAge), 10))
	}
	address, asked, err := p.client.Ask(ctx, p.redirectURI(r), extra)
	if err != nil {
		return err
	}
	now := p.o.Now()
	a := attempt{Asked: asked, Target: to, Began: now.Unix()}
	plain, err := json.Marshal(a)
	if err != nil {
		return err
	}
	name := p.attemptName(r, a.State)
	cookies := append(slices.Clone(gone), p.prune(r, now)...)
	cookies = append(cookies, setCookie(r, name, p.seal.seal(plain, p.binding("login "+name, r.URL.Scheme, r.URL.Host)), attemptFor))
	return &access.Reply{Reason: "login_required", Err: cause, Response: redirect(http.StatusFound, address, cookies)}
}

// prune withdraws attempts that are old, and the oldest when there are too many.
func (p *Party) prune(r *access.Request, now time.Time) (gone []string) {
	type open struct {
		name  string
		began int64
	}
	var live []open
	for _, c := range r.Cookies {
		if !strings.HasPrefix(c.Name, p.cookieName(r, "l")+".") {
			continue
		}
		a, err := p.openAttempt(r, c)
		if err != nil || now.Unix() >= a.Began+seconds(attemptFor) {
			if len(gone) < 2*maxAttempts && isPlain(strings.ReplaceAll(c.Name, ".", "_")) {
				gone = append(gone, setCookie(r, c.Name, "", -1))
			}
			continue
		}
		live = append(live, open{c.Name, a.Began})
	}
	slices.SortFunc(live, func(a, b open) int { return cmp.Compare(a.began, b.began) })
	for len(live) >= maxAttempts {
		gone = append(gone, setCookie(r, live[0].name, "", -1))
		live = live[1:]
	}
	return gone
}

func (p *Party) openAttempt(r *access.Request, c *http.Cookie) (a attempt, err error) {
	plain, _, err := p.seal.open(c.Value, p.binding("login "+c.Name, r.URL.Scheme, r.URL.Host))
	if err == nil {
		err = json.Unmarshal(plain, &a)
	}
	return a, err
}

// attemptOf returns the attempt with a state that r's browser began.
func (p *Party) attemptOf(r *access.Request, state string) (a attempt, found bool) {
	name := p.attemptName(r, state)
	for _, c := range r.Cookies {
		if c.Name == name {
			if a, err := p.openAttempt(r, c); err == nil && a.State == state && p.o.Now().Unix() < a.Began+seconds(attemptFor) {
				return a, true
			}
		}
	}
	return a, false
}

// redirectURI is where the provider sends the browser back to.
func (p *Party) redirectURI(r *access.Request) string { return origin(r) + p.o.Callback }

// redirect answers with a redirect that nobody stores.
func redirect(status int, to string, cookies []string) access.Response {
	h := http.Header{"Location": {to}, "Cache-Control": {"no-store"}, "Content-Type": {"text/plain; charset=utf-8"}, "Referrer-Policy": {"no-referrer"}}
	if len(cookies) > 0 {
		h["Set-Cookie"] = cookies
	}
	return access.Response{Status: status, Header: h, Body: []byte(http.StatusText(status) + "\n")}
}
