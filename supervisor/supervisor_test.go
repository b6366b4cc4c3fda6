package supervisor

import (
	"net"
	"strings"
	"testing"
)

func TestASocketIsForTheListenerOfItsNameElseOfItsAddress(t *testing.T) {
	socket := func(name, network, address string) Socket {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return Socket{Name: name, Listener: l}
	}
	port := func(s Socket) string {
		_, p, _ := net.SplitHostPort(s.Addr().String())
		return p
	}
	named, other, everywhere := socket("public", "tcp", "127.0.0.1:0"), socket("gatewarden.socket", "tcp", "127.0.0.1:0"), socket("gatewarden.socket", "tcp", ":0")
	path := t.TempDir() + "/s"
	unix := socket("gatewarden.socket", "unix", path)
	p := &Process{sockets: []Socket{everywhere, other, unix, named}}
	for _, c := range []struct {
		name, address string
		want          Socket
		found         bool
	}{
		{"proxy", "127.0.0.1:1", Socket{}, false},
		{"proxy", "127.0.0.1:" + port(everywhere), Socket{}, false}, // listens elsewhere, too
		{"proxy", "127.0.0.2:" + port(other), Socket{}, false},
		{"proxy", path + "x", Socket{}, false},
		{"public", "127.0.0.1:" + port(other), named, true},
		{"public", "127.0.0.1:1", Socket{}, false}, // it is taken
		{"proxy", "0.0.0.0:" + port(everywhere), everywhere, true},
		{"management", "127.0.0.1:" + port(other), other, true},
	} {
		got, found := p.Take(c.name, c.address)
		if found != c.found || got.Listener != c.want.Listener {
			t.Errorf("%s at %s: got %v %t, want %v %t", c.name, c.address, got, found, c.want, c.found)
		}
	}
	if err := p.Left(); err == nil || !strings.Contains(err.Error(), `"gatewarden.socket" at `+path) {
		t.Errorf("what is left: %v", err)
	}
	if got, found := p.Take("admin", path); !found || got.Listener != unix.Listener {
		t.Errorf("by path: %v %t", got, found)
	}
	if err := p.Left(); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatNobodyCaresForIsNone(t *testing.T) {
	var p *Process
	if _, found := p.Take("proxy", "127.0.0.1:4455"); found || p.Left() != nil {
		t.Error("it has sockets")
	}
	for name, tell := range map[string]func() error{"ready": p.Ready, "reloading": p.Reloading, "stopping": p.Stopping, "alive": p.Alive} {
		if err := tell(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.Close()
}
