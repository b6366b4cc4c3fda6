package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// debounce is how long events are collected before files are read.
	debounce = 50 * time.Millisecond
	// blind replaces Reread where files cannot be watched.
	blind = 2 * time.Second
)

// Run watches the sources and keeps what they hold in force until ctx is done. It
// reads everything once when it begins, so that no change since Load is missed.
func (l *Loader) Run(ctx context.Context) {
	w := l.watch()
	defer w.close()
	l.reload(ctx, true)
	w.refresh(l.sources)
	tick := time.NewTicker(l.Poll)
	defer tick.Stop()
	reread := l.Reread
	if w.notify == nil {
		reread = min(reread, blind)
	}
	var settled <-chan time.Time // runs while events are collected
	read := time.Now()
	for {
		files := false
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.events():
			if ok && settled == nil && w.concerns(e) {
				settled = time.After(debounce)
			}
		case err := <-w.errors():
			// Events may have been lost, so everything is read again.
			l.Log.WarnContext(ctx, "watching rule files failed", "error", err)
			files = true
		case <-settled:
			settled, files = nil, true
		case <-tick.C:
			files = time.Since(read) >= reread || l.failing()
		}
		if files {
			l.reload(ctx, false)
			read = time.Now()
			w.refresh(l.sources)
		}
	}
}

// reload is Reload for Run: what goes wrong is in the Status and the log.
func (l *Loader) reload(ctx context.Context, stored bool) {
	defer l.readFiles(ctx)()
	if stored {
		l.readStored(ctx)
	}
	if ctx.Err() == nil { // else what was read is half the truth
		_ = l.apply(ctx)
	}
}

// failing reports whether a repository could not be read.
func (l *Loader) failing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sources {
		if len(s.faults) > 0 {
			return true
		}
	}
	return false
}

// watcher collects file events. Without fsnotify it has none.
type watcher struct {
	notify  *fsnotify.Watcher
	files   map[string]bool // paths that matter
	folders map[string]bool // folders of which every file matters
}

func (l *Loader) watch() *watcher {
	w := &watcher{}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		l.Log.Warn("rule files cannot be watched and are read at intervals", "error", err)
		return w
	}
	w.notify = n
	w.refresh(l.sources)
	return w
}

// refresh watches the folders that hold the sources' files, where links lead to
// included: a ConfigMap is updated by swapping a link beside the file's own.
func (w *watcher) refresh(sources []*source) {
	if w.notify == nil {
		return
	}
	w.files, w.folders = map[string]bool{}, map[string]bool{}
	for _, s := range sources {
		f, ok := s.repo.(*files)
		if !ok {
			continue
		}
		if info, err := os.Stat(f.path); err == nil && info.IsDir() {
			w.folder(f.path)
			names, _ := f.list() // unreadable: reading says so
			for _, name := range names {
				w.file(filepath.Join(f.path, name))
			}
			continue
		}
		w.file(f.path)
	}
}

func (w *watcher) folder(path string) {
	w.folders[path] = true
	_ = w.notify.Add(path) // missing: it is read at intervals, and watched once it is there
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		w.folders[real] = true
		_ = w.notify.Add(real)
		_ = w.notify.Add(filepath.Dir(path))
		w.files[path] = true
	}
}

func (w *watcher) file(path string) {
	w.files[path] = true
	_ = w.notify.Add(filepath.Dir(path))
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		w.files[real] = true
		_ = w.notify.Add(filepath.Dir(real))
	}
}

// concerns reports whether an event may have changed a source. Names that begin
// with two dots are the links of a ConfigMap.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	return w.files[e.Name] || w.folders[e.Name] || w.folders[filepath.Dir(e.Name)] || strings.HasPrefix(filepath.Base(e.Name), "..")
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
}
