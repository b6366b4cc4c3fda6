package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// process is a private database server.
type process struct {
	cmd    *exec.Cmd
	folder string
	output buffer
	ended  chan struct{}
}

// launch starts the server as the given user; it ends with this process at the
// latest.
func launch(user *account, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = attributes(user, true)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the server at once; its data is thrown away.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // PostgreSQL: end without a checkpoint
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	_ = os.RemoveAll(p.folder)
}

func startPostgres(folder string) (*process, string, error) {
	initdb, err := find("initdb", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")
	if err != nil {
		return nil, "", err
	}
	postgres, err := find("postgres", filepath.Dir(initdb), "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
	if err != nil {
		return nil, "", err
	}
	user, err := unprivileged(folder, "postgres", "nobody")
	if err != nil {
		return nil, "", err
	}
	data := filepath.Join(folder, "data")
	if err := run(user, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	p, err := launch(user, postgres, "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_connections=300", "-c", "shared_buffers=64MB")
	return p, "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable", err
}

func startMySQL(folder string) (*process, string, error) {
	daemon, err := find("mariadbd", "/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb/bin", "/usr/local/opt/mariadb/bin")
	if err != nil {
		if daemon, err = find("mysqld", "/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mysql/bin", "/usr/local/opt/mysql/bin"); err != nil {
			return nil, "", errors.New("neither mariadbd nor mysqld is installed")
		}
	}
	user, err := unprivileged(folder, "mysql", "nobody")
	if err != nil {
		return nil, "", err
	}
	data := filepath.Join(folder, "data")
	if install, err := find("mariadb-install-db", filepath.Dir(daemon), "/usr/bin"); err == nil {
		err = run(user, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
		if err != nil {
			return nil, "", err
		}
	} else if err := run(user, daemon, "--no-defaults", "--initialize-insecure", "--datadir="+data); err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	p, err := launch(user, daemon, "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1", "--port="+port,
		"--socket="+filepath.Join(folder, "s"), "--pid-file="+filepath.Join(folder, "pid"), "--skip-name-resolve", "--skip-log-bin",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=64M", "--max-connections=300", "--performance-schema=OFF")
	return p, "root@tcp(127.0.0.1:" + port + ")/", err
}

// find looks in PATH, then in folders, of which the last that matches wins: it has
// the newest version.
func find(name string, folders ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		// Tools find their siblings by their own path, so resolve links.
		return filepath.EvalSymlinks(path)
	}
	for _, pattern := range folders {
		paths, err := filepath.Glob(filepath.Join(pattern, name))
		if err == nil && len(paths) > 0 {
			return slices.Max(paths), nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

func run(user *account, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = attributes(user, false)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, output)
	}
	return nil
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), nil
}

// buffer may be written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
