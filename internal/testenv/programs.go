package testenv

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Program returns the path of an installed program, such as a front proxy. Where it is
// not installed the test is skipped with the reason; under CI=true it fails.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name, "/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
	if err == nil {
		return path
	}
	missing(t, name, err.Error())
	return ""
}

// missing skips a test with the reason; under CI=true it fails.
func missing(t testing.TB, what, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what + ": " + reason)
	}
	text := "NOT TESTED WITH " + strings.ToUpper(what) + ": " + reason
	shout(t, text)
	t.Skip(text)
}

// Serve runs a program until the test ends, and returns when it accepts connections at
// address.
func Serve(t testing.TB, address, path string, args ...string) {
	t.Helper()
	var output buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", path, output.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", path, output.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %s", path, output.String())
		}
	}
}

// FreeAddress returns a loopback address that nobody listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
