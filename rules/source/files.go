package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits of one file.
const (
	// settle is how long a file must have been left alone before it is believed.
	settle = 50 * time.Millisecond
	// patience is how long a file that is being written is waited for.
	patience = 2 * time.Second
	maxFile  = 64 << 20
)

// files is a file, or a folder of .json, .yaml and .yml files.
type files struct {
	name string // as configured
	path string // absolute
}

func (f *files) title() string { return f.name }

// read returns one unit per file, in order of their names. Symbolic links are
// followed, as ConfigMaps are made of them; hidden files are left out.
func (f *files) read(ctx context.Context) ([]unit, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, plain(err)
	}
	if !info.IsDir() {
		data, err := readSettled(ctx, f.path)
		return []unit{{f.name, data, err}}, nil
	}
	names, err := f.list()
	if err != nil {
		return nil, err
	}
	var units []unit
	for _, name := range names {
		data, err := readSettled(ctx, filepath.Join(f.path, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed in the meantime
		}
		units = append(units, unit{filepath.Join(f.name, name), data, err})
	}
	return units, nil
}

// list returns the names of the rule files of a folder.
func (f *files) list() ([]string, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, plain(err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if !isRuleFile(name) {
			continue
		}
		if info, err := os.Stat(filepath.Join(f.path, name)); err == nil && info.IsDir() {
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// isRuleFile reports whether a file of a folder holds rules.
func isRuleFile(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".json", ".yaml", ".yml"}, ext)
}

// plain returns the cause of a file error without the path, which the fault names.
func plain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readSettled reads a file that nobody is writing, so that a file rewritten in
// place is never seen half-written: its size and time must not change while it is
// read, it must have been left alone for a moment, and no process may have it open
// for writing where the system can tell.
func readSettled(ctx context.Context, path string) ([]byte, error) {
	deadline := time.Now().Add(patience)
	var last stamp
	for {
		data, now, err := readOnce(path)
		switch {
		case err != nil:
			return nil, plain(err)
		case now.steady && (now.stamp == last || time.Since(now.modified) > settle):
			return data, nil
		case time.Now().After(deadline):
			return nil, errors.New("is still being written")
		}
		last = now.stamp
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settle):
		}
	}
}

// stamp tells two states of a file apart.
type stamp struct {
	size     int64
	modified time.Time
}

type observed struct {
	stamp
	steady bool // nothing changed while it was read, and nobody writes
}

func readOnce(path string) ([]byte, observed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, observed{}, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, observed{}, err
	}
	if !before.Mode().IsRegular() {
		return nil, observed{}, errors.New("is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, observed{}, err
	}
	if len(data) > maxFile {
		return nil, observed{}, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, observed{}, err
	}
	s := stamp{before.Size(), before.ModTime()}
	steady := s == stamp{after.Size(), after.ModTime()} && int64(len(data)) == s.size && !beingWritten(f)
	return data, observed{s, steady}, nil
}
