package main

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// profile is how many instructions each function has executed.
type profile map[string]float64

// functions finds the function of an address in a Go program. The table that the
// runtime itself needs is also in programs without symbols.
func functions(program string) (*gosym.Table, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, lines := f.Section(".text"), f.Section(".gopclntab")
	if text == nil || lines == nil {
		return nil, fmt.Errorf("%s is no Go program", program)
	}
	data, err := lines.Data()
	if err != nil {
		return nil, err
	}
	return gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
}

// profileOf reads the counts of blocks, as the plugin writes them.
func profileOf(counts string, table *gosym.Table) (profile, error) {
	f, err := os.Open(counts)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const threads, line, block = 4096, 64, 24
	data, err := io.ReadAll(io.NewSectionReader(f, threads*line, 1<<40))
	if err != nil {
		return nil, err
	}
	p := profile{}
	for ; len(data) >= block; data = data[block:] {
		address, length, times := binary.NativeEndian.Uint64(data), binary.NativeEndian.Uint64(data[8:]), binary.NativeEndian.Uint64(data[16:])
		if address == 0 {
			break
		}
		name := "?"
		if f := table.PCToFunc(address); f != nil {
			name = f.Name
		}
		p[name] += float64(length * times)
	}
	return p, nil
}

// since returns what was executed after before, for each of requests.
func (p profile) since(before profile, requests int) profile {
	each := profile{}
	for name, n := range p {
		if n -= before[name]; n > 0 {
			each[name] = n / float64(requests)
		}
	}
	return each
}

// hashing is what SHA-256 took, in thousands.
func (p profile) hashing() float64 {
	sum := 0.0
	for name, n := range p {
		if strings.Contains(name, "/sha256.block") {
			sum += n
		}
	}
	return sum / 1000
}

// print lists the functions that took most.
func (p profile) print(most int) {
	names := slices.SortedFunc(func(yield func(string) bool) {
		for name := range p {
			if !yield(name) {
				return
			}
		}
	}, func(a, b string) int { return int(p[b] - p[a]) })
	for _, name := range names[:min(most, len(names))] {
		fmt.Printf("    %9.0f  %s\n", p[name], name)
	}
}
