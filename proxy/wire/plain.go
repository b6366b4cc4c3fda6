package wire

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/edge/fieldline"
)

// Most answers are plain: HTTP/1.1, a final status, every field on a line of its own
// and one Content-Length. These are read here, at a quarter of the cost; whatever is
// in any way unusual is left to http.ReadResponse, with nothing consumed. So this
// reads less than the standard library and never anything else, which
// FuzzAnswersReadAsTheStandardLibraryReadsThem and FuzzPlain check.

// readPlain reads a plain answer to a request with the given method into r. It reports
// false when the answer is not plain, was not there to the end of its header, or
// could not be read.
func (r *Response) readPlain(k *conn, method string) bool {
	if method == http.MethodHead {
		return false
	}
	if _, err := k.in.Peek(1); err != nil {
		return false // reading again tells
	}
	head, _ := k.in.Peek(k.in.Buffered()) // what is buffered can be had
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	if !r.parsePlain(string(head[:end+2])) {
		return false
	}
	_, _ = k.in.Discard(end + 4) // which is buffered
	r.conn, r.left = k, r.plain.ContentLength
	r.plain.Body = (*plainBody)(r)
	if r.left == 0 {
		r.plain.Body = http.NoBody
	}
	r.Response = &r.plain
	return true
}

// parsePlain parses a header, whose lines all end in CR LF.
func (r *Response) parsePlain(head string) bool {
	const version = "HTTP/1.1 "
	line, rest, ok := fieldline.Cut(head)
	if !ok || len(line) < len(version)+4 || line[:len(version)] != version || line[len(version)+3] != ' ' {
		return false
	}
	status := 0
	for _, c := range []byte(line[len(version) : len(version)+3]) {
		if c < '0' || c > '9' {
			return false
		}
		status = 10*status + int(c-'0')
	}
	if status < 200 || status > 599 || status == http.StatusNoContent || status == http.StatusNotModified {
		return false
	}
	p := &r.plain
	p.Status, p.StatusCode = line[len(version):], status
	p.Proto, p.ProtoMajor, p.ProtoMinor = "HTTP/1.1", 1, 1
	p.ContentLength = -1
	n := strings.Count(rest, "\n")
	p.Header = make(http.Header, n)
	values := make([]string, 0, n)
	for rest != "" {
		if line, rest, ok = fieldline.Cut(rest); !ok {
			return false
		}
		name, value, ok := fieldline.Parse(line)
		if !ok {
			return false
		}
		switch name {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
			"Pragma": // http.ReadResponse adds Cache-Control to it
			return false
		case "Content-Length":
			if p.ContentLength >= 0 {
				return false
			}
			if p.ContentLength, ok = fieldline.Length(value); !ok {
				return false
			}
		}
		if earlier := p.Header[name]; earlier != nil {
			p.Header[name] = append(earlier, value)
			continue
		}
		values = append(values, value)
		p.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return p.ContentLength >= 0
}

// plainBody is the body of a plain Response.
type plainBody Response

// Read implements io.Reader.
func (b *plainBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.conn.in.Read(p)
	b.left -= int64(n)
	switch {
	case err == io.EOF && b.left > 0:
		err = io.ErrUnexpectedEOF
	case err == nil && b.left == 0:
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer; Response.Close does the work.
func (b *plainBody) Close() error { return nil }
