package source

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	var polling sync.WaitGroup
	defer polling.Wait()
	for _, s := range l.sources {
		if s.remote() {
			polling.Go(func() { l.poll(ctx, s) })
		}
	}
	w := l.watch()
	defer w.close()
	l.reload(ctx, l.local(), true)
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
			files = time.Since(read) >= reread || l.failing(l.local())
		}
		if files {
			l.reload(ctx, l.local(), false)
			read = time.Now()
			w.refresh(l.sources)
		}
	}
}

// poll looks at a remote repository at intervals, and sooner after it failed.
func (l *Loader) poll(ctx context.Context, s *source) {
	var retry time.Duration
	for {
		wait := l.RemotePoll
		if l.failing([]*source{s}) {
			retry = min(max(2*retry, l.Poll), l.RemotePoll)
			wait = retry
		} else {
			retry = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(wait)):
		}
		l.reload(ctx, []*source{s}, false)
	}
}

// jitter spreads what many nodes do: it returns d less up to a fifth.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/5+1)) }

// local returns the sources that are not remote.
func (l *Loader) local() []*source {
	return slices.DeleteFunc(slices.Clone(l.sources), (*source).remote)
}

// reload is Reload for Run: what goes wrong is in the Status and the log.
func (l *Loader) reload(ctx context.Context, sources []*source, stored bool) {
	defer l.read(ctx, sources)()
	if stored {
		l.readStored(ctx)
	}
	if ctx.Err() == nil { // else what was read is half the truth
		_ = l.apply(ctx)
	}
}

// failing reports whether one of the sources could not be read.
func (l *Loader) failing(sources []*source) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(sources, func(s *source) bool { return len(s.faults) > 0 })
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
