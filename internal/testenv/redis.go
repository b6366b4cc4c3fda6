package testenv

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// RedisServer is a private Redis without persistence.
type RedisServer struct {
	// Address is of loopback, Socket a Unix socket.
	Address, Socket string

	t       testing.TB
	program string
	args    []string
	cmd     *exec.Cmd
}

// Redis starts a Redis that ends with the test; args are further settings. Where
// redis-server is not installed the test is skipped, see Program.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s := &RedisServer{t: t, program: Program(t, "redis-server"), args: args, Address: FreeAddress(t), Socket: filepath.Join(t.TempDir(), "redis.sock")}
	t.Cleanup(s.Stop)
	s.Start()
	return s
}

// Start starts it, empty, after Stop.
func (s *RedisServer) Start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	s.cmd = exec.Command(s.program, append([]string{"--port", port, "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--save", "", "--appendonly", "no"}, s.args...)...)
	s.cmd.Args[0] = "redis-server" // one program under several names, of which find follows the link
	var output buffer
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = &output, &output, filepath.Dir(s.Socket)
	s.cmd.SysProcAttr = attributes(nil, true)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("unix", s.Socket); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server does not answer: %s", output.String())
		}
	}
}

// Stop ends it at once; what it held is gone.
func (s *RedisServer) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
