package testopenapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// pages are for people: whose forms nobody else posts.
var pages = []string{"/login", "/consent", "/logout", "/error", "/account"}

// undescribed reports whether a path is none of the API: a question of another proxy, which
// has any method and path below, or a page.
func undescribed(listener, path string) bool {
	within := func(base string) bool { return path == base || strings.HasPrefix(path, base+"/") }
	return listener == "public" && slices.ContainsFunc(pages, within) || listener == "management" && within("/decisions")
}

// exchange is one request and its answer.
type exchange struct {
	listener string
	request  *http.Request
	sent     []byte
	status   int
	header   http.Header
	answered []byte
}

// Handler returns h, all of whose traffic must be as openapi.yaml says; listener is
// management or public.
func Handler(t testing.TB, listener string, h http.Handler) http.Handler {
	fail := failing(t)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := &copied{ReadCloser: r.Body}
		if r.Body != nil {
			r.Body = sent
		}
		answer := &recorder{ResponseWriter: w}
		asked := r.Clone(r.Context()) // a handler may change what it gets
		h.ServeHTTP(answer, r)
		fail(exchange{listener, asked, sent.read.Bytes(), answer.status, w.Header(), answer.written.Bytes()})
	})
}

// Transport returns base, all of whose traffic with a listener must be as openapi.yaml
// says; of says which listener a request is for, empty: none.
func Transport(t testing.TB, of func(*http.Request) string, base http.RoundTripper) http.RoundTripper {
	fail := failing(t)
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		listener := of(r)
		if listener == "" {
			return base.RoundTrip(r)
		}
		asked := r.Clone(r.Context())
		sent := &copied{ReadCloser: r.Body}
		if r.Body != nil {
			r.Body = sent
		}
		res, err := base.RoundTrip(r)
		if err != nil {
			return res, err
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil {
			return res, err
		}
		fail(exchange{listener, asked, sent.bytes(), res.StatusCode, res.Header, body})
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// copied keeps what is read of a body, which may go on after an early answer.
type copied struct {
	io.ReadCloser
	mu   sync.Mutex
	read bytes.Buffer
}

func (c *copied) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.read.Bytes())
}

// Read implements io.Reader.
func (c *copied) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Write(p[:n])
	return n, err
}

// recorder keeps what is answered.
type recorder struct {
	http.ResponseWriter
	status  int
	written bytes.Buffer
}

// WriteHeader keeps the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implies status 200.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.written.Write(b)
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// failing returns what reports an exchange that is not as the description says, as long as
// the test runs.
func failing(t testing.TB) func(exchange) {
	t.Helper()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	t.Cleanup(func() { over.Store(true) })
	return func(x exchange) {
		if err := d.hold(x); err != nil && !over.Load() {
			t.Errorf("openapi.yaml: %s %s at the %s listener, answered %d: %v\nsent: %.2000s\nanswered: %.2000s", x.request.Method, x.request.URL.Path, x.listener, x.status, err, x.sent, x.answered)
		}
	}
}

// hold holds an exchange to the description. What the server refused needs not be as the
// description of requests says, and its refusal must be.
func (d *document) hold(x exchange) error {
	if undescribed(x.listener, x.request.URL.Path) || x.request.Method == http.MethodOptions {
		return nil
	}
	path, variables := d.find(x.listener, x.request.URL.EscapedPath())
	method := x.request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var operation map[string]any
	if path != nil {
		operation = at(path.item, strings.ToLower(method))
	}
	if x.status == http.StatusNotFound && bytes.Contains(x.answered, []byte(`"reason":"unknown_path"`)) {
		return nil // a part that this program does not have
	}
	if operation == nil {
		// Whoever is refused learns nothing of what is there.
		refused := x.status == http.StatusUnauthorized || x.status == http.StatusForbidden
		if path == nil && (x.status == http.StatusNotFound || refused) || x.status == http.StatusMethodNotAllowed {
			return nil
		}
		return errors.New("the operation is not described")
	}
	at := "/paths/" + escaped(path.template)
	operationAt := at + "/" + strings.ToLower(method)
	if err := d.holdAnswer(x, operationAt, operation); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if x.status >= 400 || x.status == http.StatusSeeOther && strings.Contains(x.header.Get("Location"), "error=") {
		return nil
	}
	for base, owner := range map[string]map[string]any{at: path.item, operationAt: operation} {
		if err := d.holdParameters(x, base, owner, variables); err != nil {
			return fmt.Errorf("the request was accepted: %w", err)
		}
	}
	if err := d.unknownParameters(x, path.item, operation); err != nil {
		return fmt.Errorf("the request was accepted: %w", err)
	}
	if err := d.holdBody(x, operationAt, operation); err != nil {
		return fmt.Errorf("the request was accepted: its body: %w", err)
	}
	return nil
}

func (d *document) holdAnswer(x exchange, operationAt string, operation map[string]any) error {
	responses := at(operation, "responses")
	code := strconv.Itoa(x.status)
	if responses[code] == nil && x.status >= 400 {
		code = "default"
	}
	if responses[code] == nil {
		return errors.New("the status is not described")
	}
	pointer, response := d.resolved(operationAt+"/responses/"+code, at(responses, code))
	for name, header := range at(response, "headers") {
		headerAt, _ := d.resolved(pointer+"/headers/"+escaped(name), header.(map[string]any))
		if value := x.header.Get(name); value != "" {
			if err := d.checkText(headerAt+"/schema", value); err != nil {
				return fmt.Errorf("field %s: %w", name, err)
			}
		}
	}
	content := at(response, "content")
	if x.request.Method == http.MethodHead {
		return nil
	}
	if len(x.answered) == 0 {
		if content != nil {
			return errors.New("there is no body")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(x.header.Get("Content-Type"))
	if err != nil || content[media] == nil {
		return fmt.Errorf("the Content-Type %q is not described", x.header.Get("Content-Type"))
	}
	schemaAt := pointer + "/content/" + escaped(media) + "/schema"
	if media == "application/json" || strings.HasSuffix(media, "+json") {
		return d.checkJSON(schemaAt, x.answered)
	}
	return d.check(schemaAt, string(x.answered))
}

// parameters calls each with every parameter of a path or an operation.
func (d *document) parameters(pointer string, owner map[string]any, each func(pointer string, parameter map[string]any) error) error {
	list, _ := owner["parameters"].([]any)
	for i, p := range list {
		at, parameter := d.resolved(fmt.Sprintf("%s/parameters/%d", pointer, i), p.(map[string]any))
		if err := each(at, parameter); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) holdParameters(x exchange, pointer string, owner map[string]any, variables map[string]string) error {
	query := x.request.URL.Query()
	return d.parameters(pointer, owner, func(at string, p map[string]any) error {
		name, required := fmt.Sprint(p["name"]), p["required"] == true
		if p["explode"] == true { // all of the query
			return d.checkForm(at+"/schema", query)
		}
		var values []string
		switch p["in"] {
		case "query":
			values = query[name]
			if kind, of, ok := strings.Cut(name, "_"); ok && of == "challenge" && len(values) == 0 && kind != "device" {
				values = query["challenge"] // as the description of these says
			}
		case "header":
			values = x.request.Header.Values(name)
		case "path":
			values = []string{variables[name]}
		}
		if required && len(values) == 0 {
			return fmt.Errorf("the parameter %s is missing", name)
		}
		for _, v := range values {
			if err := d.checkText(at+"/schema", v); err != nil && v != "" {
				return fmt.Errorf("the parameter %s: %w", name, err)
			}
		}
		return nil
	})
}

func (d *document) unknownParameters(x exchange, owners ...map[string]any) error {
	query := x.request.URL.Query()
	for _, owner := range owners {
		_ = d.parameters("", owner, func(_ string, p map[string]any) error {
			if p["explode"] == true {
				query = nil
			}
			query.Del(fmt.Sprint(p["name"]))
			if strings.HasSuffix(fmt.Sprint(p["name"]), "_challenge") {
				query.Del("challenge")
			}
			return nil
		})
	}
	for name := range query {
		return fmt.Errorf("the parameter %s is not described", name)
	}
	return nil
}

func (d *document) holdBody(x exchange, operationAt string, operation map[string]any) error {
	body := at(operation, "requestBody")
	if body == nil {
		if len(bytes.TrimSpace(x.sent)) > 0 {
			return errors.New("none is described")
		}
		return nil
	}
	pointer, body := d.resolved(operationAt+"/requestBody", body)
	if len(x.sent) == 0 {
		if body["required"] == true {
			return errors.New("it is missing")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(x.request.Header.Get("Content-Type"))
	if x.request.Header.Get("Content-Type") == "" {
		media, err = "application/json", nil // which the API takes for JSON
	}
	if err != nil || at(body, "content")[media] == nil {
		return fmt.Errorf("the Content-Type %q is not described", x.request.Header.Get("Content-Type"))
	}
	schemaAt := pointer + "/content/" + escaped(media) + "/schema"
	if media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(x.sent))
		if err != nil {
			return err
		}
		return d.checkForm(schemaAt, form)
	}
	return d.checkJSON(schemaAt, x.sent)
}
