package main

import (
	"debug/gosym"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

//go:embed plugin/count.c
var pluginSource []byte

// emulator runs programs under QEMU's user mode emulation, which counts their
// instructions on machines that do not count them, and the same from run to run. A
// program takes some twenty times as long there, so times mean nothing.
type emulator struct {
	qemu, plugin, dir string
	tables            map[string]*gosym.Table // by program
}

// functions are those of a program.
func (e *emulator) functions(program string) (*gosym.Table, error) {
	if e.tables[program] == nil {
		table, err := functions(program)
		if err != nil {
			return nil, err
		}
		e.tables[program] = table
	}
	return e.tables[program], nil
}

// newEmulator compiles the plugin. It fails where QEMU or a C compiler is missing.
func newEmulator(dir string) (*emulator, error) {
	arch, ok := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("no emulator is known for %s", runtime.GOARCH)
	}
	qemu, err := exec.LookPath("qemu-" + arch)
	if err != nil {
		return nil, fmt.Errorf("%w (Debian: qemu-user)", err)
	}
	source, plugin := filepath.Join(dir, "count.c"), filepath.Join(dir, "count.so")
	if err := os.WriteFile(source, pluginSource, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cc", "-O2", "-shared", "-fPIC", "-o", plugin, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cc: %w: %s", err, out)
	}
	return &emulator{qemu: qemu, plugin: plugin, dir: dir, tables: map[string]*gosym.Table{}}, nil
}

// command returns how to run a program, and the file in which it is counted.
func (e *emulator) command(program string, args []string) (c *exec.Cmd, counts string, err error) {
	f, err := os.CreateTemp(e.dir, "counts-")
	if err != nil {
		return nil, "", err
	}
	f.Close()
	args = append([]string{"-cpu", "max", "-plugin", e.plugin + ",counts=" + f.Name(), program}, args...)
	return exec.Command(e.qemu, args...), f.Name(), nil
}

// instructions returns how many instructions a process has executed so far.
func instructions(counts string) (uint64, error) {
	f, err := os.Open(counts)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const threads, line = 4096, 64 // as in the plugin
	data := make([]byte, threads*line)
	if _, err := io.ReadFull(f, data); err != nil {
		return 0, err
	}
	total := uint64(0)
	for ; len(data) >= line; data = data[line:] {
		total += binary.NativeEndian.Uint64(data)
	}
	return total, nil
}
