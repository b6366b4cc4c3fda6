package archtest

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// names are the tests and fuzz targets of the module, and the strings in the tables
// of store/storetest, which are subtests of store/sql's TestStore.
func names(t *testing.T) (byPackage map[string]map[string]bool, anywhere map[string]bool) {
	t.Helper()
	byPackage, anywhere = map[string]map[string]bool{}, map[string]bool{}
	add := func(pkg, name string) {
		if byPackage[pkg] == nil {
			byPackage[pkg] = map[string]bool{}
		}
		byPackage[pkg][name], anywhere[name] = true, true
	}
	for _, f := range source(t) {
		if f.test {
			for _, d := range f.ast.Decls {
				if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Recv == nil && testName.MatchString(fn.Name.Name) {
					add(f.dir, fn.Name.Name)
				}
			}
		}
		if f.name == "store/storetest/storetest.go" {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if lit, isLit := n.(*ast.BasicLit); isLit {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						add("store/sql", "TestStore/"+text)
					}
				}
				return true
			})
		}
	}
	return byPackage, anywhere
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*(?:/\w+)?`)
	// proof is a package in backticks and the tests that follow it.
	proof = regexp.MustCompile("`([a-z0-9/]+)`((?:,? (?:Test|Fuzz)\\w+(?:/\\w+)?)+)")
)

func TestEveryTestThatTheDocumentsNameExists(t *testing.T) {
	_, known := names(t)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob("../../docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, decisions...) {
		for _, name := range testName.FindAllString(read(t, page), -1) {
			if !known[name] {
				t.Errorf("%s: there is no test %s", page, name)
			}
		}
	}
}

func TestEverySecurityRuleIsProvedByTestsOfThePackageNamed(t *testing.T) {
	known, _ := names(t)
	rows := 0
	for _, line := range strings.Split(read(t, "../../docs/security.md"), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || cells[0] == "| class" {
			continue
		}
		rows++
		proved := 0
		for _, p := range proof.FindAllStringSubmatch(cells[2], -1) {
			for _, name := range testName.FindAllString(p[2], -1) {
				proved++
				if !known[p[1]][name] {
					t.Errorf("%s: %s has no test %s", cells[0], p[1], name)
				}
			}
		}
		if named := len(testName.FindAllString(cells[2], -1)); proved == 0 || proved != named {
			t.Errorf("%s: %d of %d tests stand behind a package", cells[0], proved, named)
		}
	}
	if rows < 15 {
		t.Errorf("found %d rules; is the table still read right?", rows)
	}
}

func TestEveryModuleOfTheConformancePlansIsAnsweredByATestOrNotMet(t *testing.T) {
	_, tests := names(t)
	rows := 0
	for _, line := range strings.Split(read(t, "../../docs/conformance.md"), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| `") || len(cells) != 2 {
			continue
		}
		rows++
		named := testName.FindAllString(cells[1], -1)
		for _, name := range named {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", cells[0], name)
			}
		}
		if len(named) == 0 && !strings.HasPrefix(cells[1], "not met: ") {
			t.Errorf("%s: neither a test nor a reason", cells[0])
		}
	}
	if rows < 130 {
		t.Errorf("found %d modules; is the table still read right?", rows)
	}
}

func TestEveryDirectDependencyHasItsReason(t *testing.T) {
	reasons := read(t, "../../docs/decisions/0001-dependencies.md")
	found := 0
	for _, line := range strings.Split(read(t, "../../go.mod"), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasPrefix(fields[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		found++
		if !strings.Contains(reasons, "`"+fields[0]+"`") {
			t.Errorf("docs/decisions/0001-dependencies.md does not say what %s is for", fields[0])
		}
	}
	if found < 10 {
		t.Errorf("found %d direct dependencies; is go.mod still read right?", found)
	}
}

func TestTheMapNamesEveryPackage(t *testing.T) {
	text := read(t, "../../docs/architecture.md")
	for _, f := range source(t) {
		if !f.test && !strings.Contains(text, "`"+f.dir+"`") && !strings.Contains(text, "`"+path.Base(f.dir)+"`") {
			t.Errorf("docs/architecture.md does not name %s", f.dir)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
