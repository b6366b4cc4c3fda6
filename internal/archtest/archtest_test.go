package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gatewarden/gatewarden/"

// allowed says what each package may import of ours; a name with /... stands for
// the package and everything below it. Packages that are not listed may import
// nothing of ours, so a new one has to be put in its place here.
var allowed = map[string][]string{
	// Row 1: values.
	"access": {}, "fault": {}, "strictjson": {},
	// Row 2: shared, no domain logic.
	"handler": {"strictjson"}, "config": {"cors"}, "telemetry": {}, "cors": {}, "acme": {},
	"handler/handlertest": {"handler"}, // for tests
	"outbound":            {"fault", "handler"},
	"redis":               {},
	"ratelimit":           {"access", "fault", "redis"},
	"rules/spec":          {"access", "cors", "fault", "ratelimit"},
	"templates":           {"access", "fault"},
	"edge":                {"access", "cors", "edge/wire", "fault"},
	"edge/wire":           {"edge/fieldline"},
	"edge/fieldline":      {},
	"dpop":                {"fault", "keys"},
	"keys":                {"access", "fault"},
	"passwords":           {"fault"},
	"users":               {"fault", "strictjson"},
	"fingerprint":         {},
	"relyingparty":        {"access", "fault", "keys", "outbound"},
	// Row 3: the stages of a decision.
	"authn":         {"access", "dpop", "fault", "fingerprint", "handler", "keys", "outbound", "passwords", "relyingparty"},
	"authz":         {"access", "fault", "handler", "outbound", "strictjson", "templates"},
	"mutators":      {"access", "fault", "fingerprint", "handler", "keys", "outbound", "strictjson", "templates"},
	"errorhandlers": {"access", "fault", "handler", "strictjson"},
	"policies":      {"access", "fault", "authz", "strictjson"},
	// Row 4: what is decided by, what is kept, what an operator can do.
	"rules":        {"access", "cors", "fault", "handler", "ratelimit", "rules/spec", "rules/match", "authn", "authz", "mutators", "errorhandlers"},
	"rules/match":  {"access", "fault", "rules/spec"},
	"rules/source": {"access", "fault", "rules", "rules/spec"},
	"oauth2":       {"access", "fault"},
	"store":        {"relyingparty", "oauth2", "rules/spec", "policies", "keys", "users"},
	"manage":       {"access", "fault", "oauth2", "passwords", "rules/spec", "policies", "keys", "strictjson", "users"},
	// Row 5: edges and endpoints.
	"proxy/...":       {"access", "fault", "edge", "edge/fieldline", "proxy/..."},
	"decision":        {"access", "fault", "edge"},
	"login":           {"fault", "oauth2", "passwords", "relyingparty", "users"},
	"oauth2/...":      {"access", "dpop", "fault", "fingerprint", "keys", "oauth2/...", "passwords", "strictjson", "users"},
	"registration":    {"fault", "keys", "manage", "oauth2", "strictjson"},
	"store/sql/...":   {"fault", "store", "relyingparty", "oauth2", "rules/spec", "policies", "keys", "users"},
	"store/storetest": {"fault", "store", "relyingparty", "oauth2", "rules/spec", "policies", "keys", "users"},
	"manage/...":      {"access", "fault", "authz", "manage/...", "oauth2", "rules/spec", "policies", "keys", "strictjson", "users"},
	// Row 6: the whole.
	"supervisor":           {},
	"app":                  {"..."},
	"cmd/gatewarden":       {"app", "config", "fault", "manage/...", "oauth2", "passwords", "policies", "rules/...", "supervisor", "telemetry", "handler", "users"},
	"internal/testenv":     {"..."},
	"internal/archtest":    {},
	"internal/testca":      {},
	"internal/testacme":    {},
	"internal/testopenapi": {"manage/api"},
	"bench/load":           {},
	"internal/e2e":         {"..."},
}

// confined says where a third-party package may be used: its types must not leak
// from there.
var confined = map[string][]string{
	"github.com/ory/fosite":                  {"oauth2/..."},
	"github.com/go-jose/go-jose/v3":          {"oauth2/..."},
	"github.com/ory/ladon":                   {"policies"},
	"cel.dev/cel-go":                         {"authz"},
	"github.com/tidwall/gjson":               {"authn", "authz"},
	"github.com/spf13/viper":                 {"config"},
	"github.com/caddyserver/certmagic":       {"acme"},
	"github.com/mholt/acmez/v3":              {"acme"},
	"go.uber.org/zap":                        {"acme"},
	"github.com/letsencrypt/pebble/v2":       {"internal/testacme"},
	"github.com/miekg/dns":                   {"internal/testacme"},
	"github.com/spf13/cobra":                 {"cmd/gatewarden"},
	"github.com/pires/go-proxyproto":         {"edge"},
	"github.com/quic-go/quic-go":             {"edge"},
	"github.com/coreos/go-systemd/v22":       {"supervisor"},
	"github.com/gorilla/mux":                 {"manage/api", "oauth2/..."},
	"github.com/pressly/goose/v3":            {"store/sql/..."},
	"modernc.org/sqlite":                     {"store/sql/..."},
	"github.com/jackc/pgx/v5":                {"store/sql/...", "internal/testenv"},
	"github.com/go-sql-driver/mysql":         {"store/sql/...", "internal/testenv"},
	"github.com/pquerna/otp":                 {"login"},
	"github.com/go-webauthn/webauthn":        {"login"},
	"github.com/boombuler/barcode":           {"login"},
	"github.com/redis/go-redis/v9":           {"redis"},
	"github.com/go-git/go-git/v5":            {"rules/source"},
	"gocloud.dev":                            {"rules/source"},
	"github.com/envoyproxy/go-control-plane": {"decision"},
	"google.golang.org/grpc":                 {"decision"},
	"github.com/chromedp":                    {"internal/testenv"},
	"github.com/santhosh-tekuri/jsonschema":  {"internal/testopenapi", "oauth2/..."},
}

// file is one parsed source file.
type file struct {
	name, dir string
	test      bool
	ast       *ast.File
}

// source parses every Go file of the module. It does not run the go command: the
// test cache would not see that a file changed.
func source(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if base := d.Name(); rel == "third_party" || base == "testdata" || (strings.HasPrefix(base, ".") && rel != ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), rel, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file{name: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d files; is the walk right?", len(files))
	}
	return files
}

// covers reports whether pattern names pkg.
func covers(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if base, all := strings.CutSuffix(pattern, "/..."); all {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

// permitted returns what pkg may import; an exact entry wins over a pattern.
func permitted(pkg string) ([]string, bool) {
	if list, found := allowed[pkg]; found {
		return list, true
	}
	for pattern, list := range allowed {
		if strings.HasSuffix(pattern, "/...") && covers(pattern, pkg) {
			return list, true
		}
	}
	return nil, false
}

func TestPackagesImportOnlyFromRowsBelow(t *testing.T) {
	for _, f := range source(t) {
		if f.test {
			continue // tests may stand a store or a server beside what they test
		}
		list, found := permitted(f.dir)
		if !found {
			t.Errorf("%s: package %s has no row in the import table", f.name, f.dir)
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			pkg, ours := strings.CutPrefix(imported, module)
			if ours && pkg != f.dir && !slices.ContainsFunc(list, func(p string) bool { return covers(p, pkg) }) {
				t.Errorf("%s: %s must not import %s", f.name, f.dir, pkg)
			}
		}
	}
}

func TestValuesUseTheStandardLibraryOnly(t *testing.T) {
	for _, f := range source(t) {
		if f.test || (f.dir != "access" && f.dir != "fault" && f.dir != "handler" && f.dir != "strictjson") {
			continue
		}
		for _, spec := range f.ast.Imports {
			if imported, _ := strconv.Unquote(spec.Path.Value); !strings.HasPrefix(imported, module) && strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("%s: %s must not import %s", f.name, f.dir, imported)
			}
		}
	}
}

func TestThirdPartyPackagesStayWhereTheyBelong(t *testing.T) {
	for _, f := range source(t) {
		if f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for pkg, places := range confined {
				if imported != pkg && !strings.HasPrefix(imported, pkg+"/") {
					continue
				}
				if !slices.ContainsFunc(places, func(p string) bool { return covers(p, f.dir) }) {
					t.Errorf("%s: %s is used outside %s", f.name, imported, strings.Join(places, ", "))
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	said := map[string]bool{}
	for _, f := range source(t) {
		if f.test {
			continue
		}
		said[f.dir] = said[f.dir] || (f.ast.Doc != nil && len(strings.Fields(f.ast.Doc.Text())) >= 6)
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment that says what it is for", dir)
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, f := range source(t) {
		for _, d := range f.ast.Decls {
			if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.name)
			}
		}
	}
}

func TestRoomsHaveNouns(t *testing.T) {
	for _, f := range source(t) {
		for _, vague := range []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "x"} {
			if path.Base(f.dir) == vague || strings.TrimSuffix(path.Base(f.name), ".go") == vague {
				t.Errorf("%s: %q says nothing about what is inside", f.name, vague)
			}
		}
	}
}
