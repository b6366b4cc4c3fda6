package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/internal/testenv"
)

// TestTheUnitsOfSystemdAreValidAndShutIn has systemd read them; what it says of a unit's
// exposure is 10 for a service without any protection.
func TestTheUnitsOfSystemdAreValidAndShutIn(t *testing.T) {
	analyze := testenv.Program(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"gatewarden.service", "gatewarden.socket"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, strings.ReplaceAll(string(text), "/usr/local/bin/gatewarden", "/bin/true")) // which is there
	}
	unit := filepath.Join(dir, "gatewarden.service")
	if out, err := exec.Command(analyze, "verify", unit, filepath.Join(dir, "gatewarden.socket")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v %s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
}
