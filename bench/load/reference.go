package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// serveBytes answers /N with N bytes that it has ready, and any other path with a
// small body. It is both the upstream and what endpoints without an upstream are
// compared with.
func serveBytes(address string) error {
	const most = 1 << 16
	pool := bytes.Repeat([]byte("x"), most)
	small := []byte(`{"ok":true}`)
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := small
		if n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/")); err == nil && n >= 0 && n <= most {
			body = pool[:n]
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body) // wrk leaves in the middle of requests
	}))
}

// serveProxy is what proxying is compared with: ReverseProxy, tuned with a transport
// that keeps enough connections and a buffer pool, or as it comes.
func serveProxy(address, upstream string, tuned bool) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	p := &httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0), // wrk leaves in the middle of requests
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}
	if tuned {
		p.Transport = &http.Transport{
			MaxIdleConns: 0, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second,
			DisableCompression: true, WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10,
		}
		p.BufferPool = make(buffers, 256)
	}
	return http.ListenAndServe(address, p)
}

// buffers is the pool of the reference.
type buffers chan []byte

func (b buffers) Get() []byte {
	select {
	case p := <-b:
		return p
	default:
		return make([]byte, 32<<10)
	}
}

func (b buffers) Put(p []byte) {
	select {
	case b <- p:
	default:
	}
}
