package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read is an answer as a reader of the standard library or of this package sees it,
// and what follows it on the connection.
type read struct {
	Status, Proto string
	StatusCode    int
	Header        http.Header
	Length        int64
	Close         bool
	Body, Next    string
	BodyErr       string
}

func readOf(res *http.Response, body io.Reader, in io.Reader) read {
	got := read{Status: res.Status, Proto: res.Proto, StatusCode: res.StatusCode, Header: res.Header, Length: res.ContentLength, Close: res.Close}
	text, err := io.ReadAll(body)
	got.Body = string(text)
	if err != nil {
		got.BodyErr = err.Error()
	}
	next, _ := io.ReadAll(in)
	got.Next = string(next)
	return got
}

// plainly reads raw as a plain answer.
func plainly(raw []byte, method string) (read, bool) {
	k := &conn{in: bufio.NewReaderSize(bytes.NewReader(raw), 4<<10)}
	var r Response
	if !r.readPlain(k, method) {
		return read{}, false
	}
	return readOf(r.Response, r.Body, k.in), true
}

func checkPlain(t *testing.T, raw []byte, method string) (plain bool) {
	t.Helper()
	got, ok := plainly(raw, method)
	if !ok {
		return false
	}
	in := bufio.NewReader(bytes.NewReader(raw))
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: read as %+v, the standard library refuses: %v", raw, got, err)
	}
	if diff := cmp.Diff(readOf(res, res.Body, in), got); diff != "" {
		t.Fatalf("%q (-standard +plain)\n%s", raw, diff)
	}
	if len(res.TransferEncoding) > 0 || len(res.Trailer) > 0 || res.Uncompressed {
		t.Fatalf("%q: the standard library reads %+v", raw, res)
	}
	return true
}

func TestPlainAnswersAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 ",
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-lower: a\r\nX-UPPER:b\r\n\r\n",
		"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 Service  Unavailable \r\nContent-Length:  \t1 \t\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nset-cookie: c\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-\xc3\xa9mpty:\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: \xff\xc3\xa9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsho",
		"HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nok",
	} {
		checkPlain(t, []byte(raw), http.MethodGet)
	}
	for _, raw := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 500 Internal Server Error\r\ndate: x\r\ncontent-length: 0\r\n\r\n"} {
		if !checkPlain(t, []byte(raw), http.MethodGet) {
			t.Errorf("%q is not read as plain", raw)
		}
	}
}

func TestWhatIsUnusualIsLeftToTheStandardLibrary(t *testing.T) {
	const length = "Content-Length: 0\r\n"
	for _, raw := range []string{
		"", "H", "HTTP/1.1 200 OK\r\n" + length, "HTTP/1.0 200 OK\r\n" + length + "\r\n", "HTTP/1.1 200\r\n" + length + "\r\n", "HTTP/1.1  200 OK\r\n" + length + "\r\n",
		"HTTP/1.1 103 Early\r\n" + length + "\r\n", "HTTP/1.1 204 No Content\r\n" + length + "\r\n", "HTTP/1.1 304 Not Modified\r\n" + length + "\r\n", "HTTP/1.1 999 What\r\n" + length + "\r\n",
		"HTTP/1.1 200 OK\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX: a\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX : a\r\n" + length + "\r\n",
		"HTTP/1.1 200 OK\r\n: a\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX: a\rb\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nX: \x00\r\n" + length + "\r\n",
		"HTTP/1.1 200 OK\r\n" + length + length + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + length + "\r\n",
		"HTTP/1.1 200 OK\r\nconnection: close\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nTrailer: X\r\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nPragma: no-cache\r\n" + length + "\r\n",
	} {
		if got, ok := plainly([]byte(raw), http.MethodGet); ok {
			t.Errorf("%q: read as %+v", raw, got)
		}
	}
	if got, ok := plainly([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), http.MethodHead); ok {
		t.Errorf("an answer to HEAD: read as %+v", got)
	}
}

func FuzzPlain(f *testing.F) {
	for _, raw := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nX: \tq \r\n\r\nok", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nHTTP/1.1"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { checkPlain(t, raw, http.MethodGet) })
}
