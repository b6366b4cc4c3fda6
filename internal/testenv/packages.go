package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Node returns the path of node and a folder with a copy of folder in which the packages
// of its package-lock.json are installed. Where there is no node, or no way to packages,
// the test is skipped with the reason; under CI=true it fails.
func Node(t testing.TB, folder string) (node, installed string) {
	t.Helper()
	node, npm := Program(t, "node"), Program(t, "npm")
	installed = t.TempDir()
	if err := os.CopyFS(installed, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = installed
	if output, err := cmd.CombinedOutput(); err != nil {
		missing(t, "packages of node", err.Error()+": "+string(bytes.TrimSpace(output)))
	}
	return node, installed
}

// Python returns the path of a python3 that has the modules, which the distribution's
// packages bring to its own: others may come first in PATH.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	program := "import importlib, sys\nfor m in sys.argv[1:]: importlib.import_module(m)"
	var reason string
	for _, path := range []string{filepath.Join("/usr", "bin", "python3"), "python3"} {
		output, err := exec.Command(path, append([]string{"-c", program}, modules...)...).CombinedOutput()
		if err == nil {
			return path
		}
		reason += path + ": " + err.Error() + ": " + string(bytes.TrimSpace(output)) + "\n"
	}
	missing(t, "Python", reason)
	return ""
}
