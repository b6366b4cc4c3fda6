package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/http/httpguts"
)

// checkPlain reads raw as a plain request and compares with the standard library. It
// reports whether raw is plain.
func checkPlain(t *testing.T, raw []byte) (plain bool) {
	t.Helper()
	end := bytes.Index(raw, headEnd)
	if end < 0 {
		return false
	}
	got, u := new(http.Request), new(url.URL)
	if !readPlain(string(raw[:end+2]), got, u) {
		return false
	}
	in := bufio.NewReader(bytes.NewReader(raw))
	want, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q: read as %+v, the standard library refuses: %v", raw, got, err)
	}
	if hosts := want.Header["Host"]; len(hosts) > 0 || !httpguts.ValidHostHeader(want.Host) { // ReadRequest takes it out
		t.Fatalf("%q: host %q, fields %v", raw, want.Host, hosts)
	}
	for name, values := range want.Header { // which the server asks for on top
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				t.Fatalf("%q: field %q: %q", raw, name, v)
			}
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(http.Request{}), cmpopts.IgnoreFields(http.Request{}, "Body")); diff != "" {
		t.Fatalf("%q (-standard +plain)\n%s", raw, diff)
	}
	if got.URL != u || want.ContentLength > 0 != (want.Body != http.NoBody) || want.ContentLength < 0 {
		t.Fatalf("%q: %d bytes of body, %v", raw, want.ContentLength, want.Body)
	}
	return true
}

// plainRequests are read by the loop.
var plainRequests = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a/b?c=d&e=%20#f HTTP/1.1\r\nhost: api.example.com:80\r\n\r\n",
	"HEAD /a?b?c HTTP/1.1\r\nHOST:[::1]:80\r\n\r\n",
	"GET /%41%2f/x%20y?q HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET //a//b/../c HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a?? HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a\"b<c>^`{|}\\d*(e)!'[f] HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a:b;c=d,e@f$g&h+i~j HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: a\r\ncontent-length: 2 \r\n\r\nok",
	"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length:\t10\r\n\r\n0123456789GET /",
	"PATCH /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
	"DELETE /a HTTP/1.1\r\nHost: a\r\nconnection: Keep-Alive\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nx-lower: b\r\nX-UPPER:\t c d \t\r\nX_Under!#$%&'*+.^`|~1: e\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nAccept: x\r\nCookie: c=d\r\ncookie: e=f\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xc3\xa9\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\nCache-Control: max-age=0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nPragma: x\r\nPragma: no-cache\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n" + "Authorization: Bearer " + strings.Repeat("x", 9000) + "\r\n\r\n",
}

// unusualRequests are served by the standard library, or refused by it.
var unusualRequests = []string{
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / http/1.1\r\nHost: a\r\n\r\n", "GET /\r\nHost: a\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"get / HTTP/1.1\r\nHost: a\r\n\r\n", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x00\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa9: b\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nxx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\nContent-Length : 1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: identity\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-User\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-User\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n",
}

func TestPlainRequestsAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, raw := range plainRequests {
		if !checkPlain(t, []byte(raw)) {
			t.Errorf("%q is not read as plain", raw)
		}
	}
}

func TestUnusualRequestsAreLeftToTheStandardLibrary(t *testing.T) {
	for _, raw := range unusualRequests {
		if checkPlain(t, []byte(raw)) {
			t.Errorf("%q is read as plain", raw)
		}
	}
}

func TestEveryByteOfATargetIsReadAsPackageURLReadsIt(t *testing.T) {
	for c := range 256 {
		for _, form := range []string{"GET /a%cb HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b%cc HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%c/%%41?%c HTTP/1.1\r\nHost: a\r\n\r\n"} {
			checkPlain(t, fmt.Appendf(nil, strings.ReplaceAll(form, "%c", "%[1]c"), c))
			checkPlain(t, []byte(strings.ReplaceAll(strings.ReplaceAll(form, "%%", "%"), "%c", string([]byte{byte(c)}))))
		}
	}
}

// TestAHeaderThatIsNotThereYetIsJudgedAsTheWhole: whether a request is plain does not
// depend on how it arrives.
func TestAHeaderThatIsNotThereYetIsJudgedAsTheWhole(t *testing.T) {
	for _, raw := range plainRequests {
		head, _, _ := strings.Cut(raw, "\r\n\r\n")
		for i := range len(head) + 3 {
			for _, looked := range []int{0, max(0, i-1), i / 2} {
				if isOdd([]byte(raw[:i]), looked) {
					t.Errorf("%q is odd", raw[:i])
				}
			}
		}
	}
	for _, raw := range []string{"GET / HTTP/1.1\n", "\n", "\r\n", "\rG", "GET / HTTP/1.0\r\n", "GET /\r\n", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\nHost: a\rb", "\x16\x03\x01\x00", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f"} {
		if !isOdd([]byte(raw), 0) || !isOdd([]byte(raw), len(raw)-1) {
			t.Errorf("%q is not odd", raw)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, raw := range append(plainRequests, unusualRequests...) {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { checkPlain(t, raw) })
}
