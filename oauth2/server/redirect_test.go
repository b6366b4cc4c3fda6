package server

import "testing"

func TestARedirectURIMatchesByteForByte(t *testing.T) {
	registered := []string{"https://app.test/cb", "http://127.0.0.1/cb", "http://[::1]:80/cb?x=y", "http://localhost:3000/cb", "com.example.app:/cb", "https://127.0.0.1/tls"}
	for uri, want := range map[string]bool{
		"https://app.test/cb":             true,
		"http://127.0.0.1:49152/cb":       true,
		"http://[::1]:49152/cb?x=y":       true,
		"http://localhost:3000/cb":        true,
		"com.example.app:/cb":             true,
		"":                                false,
		"https://app.test/cb/":            false,
		"https://app.test/CB":             false,
		"https://app.test:443/cb":         false,
		"https://app.test/cb?":            false,
		"https://app.test/a/../cb":        false,
		"https://app.test/%63b":           false,
		"https://app.test/cb#x":           false,
		"https://app.test@evil.test/cb":   false,
		"http://app.test/cb":              false,
		"https://127.0.0.1/cb":            false,
		"http://127.0.0.1:99/tls":         false,
		"http://127.0.0.2/cb":             false,
		"http://[::1]/cb":                 false,
		"http://[::1]/cb?x=z":             false,
		"http://localhost:3001/cb":        false,
		"http://127.0.0.1:99@evil.test":   false,
		"http://user@127.0.0.1:99/cb":     false,
		"http://127.0.0.1:99\\@evil.test": false,
		"http://127.0.0.1:port/cb":        false,
		"com.example.app:/cb2":            false,
		"/cb":                             false,
	} {
		if got := registeredRedirect(uri, registered); got != want {
			t.Errorf("%q: got %v, want %v", uri, got, want)
		}
	}
	for _, uri := range []string{"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd"} {
		if registeredRedirect(uri, []string{uri}) {
			t.Errorf("%q may be redirected to, because it is registered", uri)
		}
	}
}
