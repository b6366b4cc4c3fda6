package main

import (
	"debug/gosym"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// server is a running process that answers at one address.
type server struct {
	pid     int
	address string // host:port
	counts  string // where its instructions are counted; empty: nowhere
	// functions are those of its program; nil when nothing is counted.
	functions *gosym.Table
}

// on is another address of the same process.
func (s server) on(address string) server {
	s.address = address
	return s
}

func (s server) url() string { return "http://" + s.address }

// kase is one kind of load.
type kase struct {
	name string
	at   server
	path string
	// spread, when set, is the number of paths, in which %d stands for each in turn.
	spread int
	// authorization is a field value; a form, or a document of JSON, makes it a POST.
	authorization, form, json string
	fields                    [][2]string // further fields
	// against is the case that it is compared with; empty: proxying.
	against string
	goal    string
}

// first is a path of the case.
func (c *kase) first() string { return strings.Replace(c.path, "%d", "0", 1) }

// appendRequest appends the request number n.
func (c *kase) appendRequest(b []byte, n int) []byte {
	method, path := http.MethodGet, c.path
	contentType, body := c.body()
	if body != "" {
		method = http.MethodPost
	}
	if c.spread > 0 {
		path = strings.Replace(path, "%d", strconv.Itoa(n*7919%c.spread), 1)
	}
	b = fmt.Appendf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, c.at.address)
	if c.authorization != "" {
		b = fmt.Appendf(b, "Authorization: %s\r\n", c.authorization)
	}
	for _, f := range c.fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f[0], f[1])
	}
	if body != "" {
		b = fmt.Appendf(b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

func (c *kase) body() (contentType, body string) {
	if c.json != "" {
		return "application/json", c.json
	}
	return form, c.form
}

// script is the same for wrk, in Lua.
func (c *kase) script() string {
	var b strings.Builder
	if c.authorization != "" {
		fmt.Fprintf(&b, "wrk.headers[\"Authorization\"] = %q\n", c.authorization)
	}
	for _, f := range c.fields {
		fmt.Fprintf(&b, "wrk.headers[%q] = %q\n", f[0], f[1])
	}
	if contentType, body := c.body(); body != "" {
		fmt.Fprintf(&b, "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = %q\nwrk.body = %q\n", contentType, body)
	}
	if c.spread > 0 {
		before, after, _ := strings.Cut(c.path, "%d")
		fmt.Fprintf(&b, "local n = 0\nrequest = function()\n  n = (n + 7919) %% %d\n  return wrk.format(\"GET\", %q .. n .. %q)\nend\n", c.spread, before, after)
	}
	return b.String()
}
