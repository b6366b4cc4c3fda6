package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
)

// keeping keeps sessions in cookies and tells the client something with every answer.
type keeping struct{ decide }

func (keeping) SessionCookies() []string { return []string{"gw_session"} }

func TestAnUpstreamNeitherSetsSessionsNorReplacesWhatTheGatewayTells(t *testing.T) {
	theirs := func(h http.Header) {
		h["Set-Cookie"] = []string{"theme=dark", "gw_session=theirs", "GW-Session.0=theirs"}
		h["Dpop-Nonce"] = []string{"theirs"}
	}
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Errorf("the upstream got the cookies %v", r.Cookies())
		}
		theirs(w.Header())
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusEarlyHints)
			theirs(w.Header())
			w.WriteHeader(http.StatusOK)
			return
		}
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	decider := keeping{func(r *access.Request) access.Decision {
		d := to(up)(r)
		d.ResponseHeader = http.Header{"Set-Cookie": {"gw_session=ours"}, "Dpop-Nonce": {"ours"}}
		return d
	}}
	type told struct{ Cookies, Nonce []string }
	read := func(t *testing.T, r *bufio.Reader, status int) told {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != status {
			t.Fatalf("got %v, %v, want %d", res, err, status)
		}
		return told{slices.Sorted(slices.Values(res.Header["Set-Cookie"])), res.Header["Dpop-Nonce"]}
	}
	eachTransport(t, func(t *testing.T, standard bool) {
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: decider}}, edge.ServerOptions{})
		for _, upgrade := range []string{"", "Connection: Upgrade\r\nUpgrade: websocket\r\n"} {
			_, r := dial(t, addr, fmt.Sprintf("GET / HTTP/1.1\r\nHost: a\r\nCookie: gw_session=1\r\n%s\r\n", upgrade))
			status := http.StatusSwitchingProtocols
			if upgrade == "" {
				status = http.StatusOK
				if diff := cmp.Diff(told{Cookies: []string{"theme=dark"}}, read(t, r, http.StatusEarlyHints)); diff != "" {
					t.Errorf("early hints (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(told{[]string{"gw_session=ours", "theme=dark"}, []string{"ours"}}, read(t, r, status)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", upgrade, diff)
			}
		}
	})
}
