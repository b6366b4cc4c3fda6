package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/gatewarden/gatewarden/app"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// root is the repository.
const root = "../.."

// pages returns the names of all pages, by their path below root.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root+"/docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocks returns the fenced blocks of a language.
func blocks(text, language string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestTheMakeCommandsOfThePagesAreTargets(t *testing.T) {
	makefile := read(t, root+"/Makefile")
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile("(?m)(?:^ {4}|`)make ([a-z-]+)").FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: make %s is no target", page, m[1])
			}
		}
	}
	for _, target := range []string{"help", "build", "run", "test", "check", "bench"} {
		if !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("the Makefile has no target %s", target)
		}
	}
}

func TestEveryRelativeLinkOfThePagesResolves(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestEveryExampleOfThePagesIsValid reads blocks as what they are: JSON, rules, parts
// of a rule, or configuration. Blocks of yml belong to other programs.
func TestEveryExampleOfThePagesIsValid(t *testing.T) {
	for _, page := range pages(t) {
		text := read(t, page)
		for _, block := range blocks(text, "json") {
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: not valid JSON:\n%s", page, block)
			}
		}
		for _, block := range blocks(text, "yml") { // configuration of other programs
			if err := yaml.Unmarshal([]byte(block), new(any)); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
		for _, block := range blocks(text, "yaml") {
			d := yaml.NewDecoder(bytes.NewReader([]byte(block)))
			var v any
			if err := d.Decode(&v); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
				continue
			}
			if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: a block holds more than one document", page)
			}
			if err := checkExample(t, page, v); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
	}
}

// checkExample reads one example: a list of rules, a handler as a rule names it, parts of a
// rule, or configuration.
func checkExample(t *testing.T, page string, v any) error {
	tree, isMap := v.(map[string]any)
	if !isMap {
		return lint(t, v)
	}
	if tree["handler"] != nil {
		kind, _, _ := strings.Cut(filepath.Base(page), "-")
		if kind == "authorizer" {
			tree = map[string]any{kind: tree}
		} else {
			tree = map[string]any{kind + "s": []any{tree}}
		}
	}
	part := tree["authorizer"] != nil
	for _, name := range []string{"authenticators", "mutators", "errors"} {
		if _, isList := tree[name].([]any); isList {
			part = true
		}
	}
	if part {
		for name, value := range map[string]any{
			"id": "example", "match": map[string]any{"url": "http://api.example.com/<[^/]+>/<.*>", "methods": []any{"GET"}},
			"authenticators": []any{map[string]any{"handler": "anonymous"}}, "authorizer": map[string]any{"handler": "allow"},
			"mutators": []any{map[string]any{"handler": "noop"}},
		} {
			if tree[name] == nil {
				tree[name] = value
			}
		}
		return lint(t, []any{tree})
	}
	text, err := yaml.Marshal(tree)
	if err != nil {
		return err
	}
	file := filepath.Join(t.TempDir(), "example.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, warnings, err := config.Load(config.Sources{Files: []string{file}, Handlers: app.HandlerDefaults(), Check: app.CheckHandler})
	if err == nil && len(warnings) > 0 {
		err = errors.New(strings.Join(warnings, "\n"))
	}
	return err
}

func lint(t *testing.T, rules any) error {
	text, err := yaml.Marshal(rules)
	if err != nil {
		return err
	}
	defs, err := spec.Decode("example.yaml", text)
	if err != nil {
		return err
	}
	cfg := config.Default()
	faults, err := app.Lint(t.Context(), &cfg, defs)
	for _, f := range faults {
		err = errors.Join(err, f)
	}
	return err
}

func TestTheExamplesOfTheReadmeWork(t *testing.T) {
	examples := blocks(read(t, root+"/README.md"), "yaml")
	if len(examples) != 2 {
		t.Fatalf("got %d YAML blocks, want a rule and a configuration", len(examples))
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	adapt := strings.NewReplacer("http://orders.internal:8080", upstream(t).URL, "/var/lib/gatewarden", dir, "/etc/gatewarden", dir)
	for name, text := range map[string]string{"rules/orders.yaml": examples[0], "gatewarden.yaml": examples[1]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(adapt.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The test stands where a TLS terminating balancer would.
	p := start(t, settings{files: []string{filepath.Join(dir, "gatewarden.yaml")}, keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}})
	var created struct {
		Secret string `json:"client_secret"`
	}
	post(t, p.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated).decode(t, &created)
	post(t, p.management+"/policies", `{"id": "read", "subjects": ["shop"], "effect": "allow", "resources": ["orders"], "actions": ["GET"]}`).want(t, http.StatusCreated)
	token := clientToken(t, p, "shop", created.Secret, "orders")
	for _, c := range []struct {
		name, method string
		header       []string
		want         int
	}{
		{"nobody", "GET", nil, http.StatusUnauthorized},
		{"what no policy allows", "POST", []string{"Authorization", "Bearer " + token}, http.StatusForbidden},
		{"who may", "GET", []string{"Authorization", "Bearer " + token}, http.StatusOK},
	} {
		a := send(t, c.method, p.proxy+"/orders/7", "", append(c.header, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example.com")...)
		if a.status != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, a.status, a.body, c.want)
		}
	}
}
