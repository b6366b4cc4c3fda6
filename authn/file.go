package authn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxFileBytes = 16 << 20
	// lookEvery is how old what is known of a file may be.
	lookEvery = time.Second
	// settleFor is how long a file must have been left alone before it is read, so that
	// one that is rewritten in place is not taken for a shorter one.
	settleFor = 100 * time.Millisecond
	// racy is how long after a change another one may have left size and time alone.
	racy = 2 * time.Second
)

// file is a file of credentials. Who asks for its content gets that of a second ago at
// most; when the file is gone or wrong, that of when it was last good. It has no
// goroutine: the first request after a second looks.
type file[T any] struct {
	path   string
	parse  func(text []byte) (T, error)
	now    func() time.Time
	report func(path string, err error)

	settle  time.Duration
	next    atomic.Int64 // when to look again, in nanoseconds since 1970
	content atomic.Pointer[T]

	mu      sync.Mutex
	size    int64
	changed time.Time
	read    time.Time // when the content was read
	sum     [sha256.Size]byte
	failure string
}

// openFile reads a file; path may be a file URL. The error names it.
func openFile[T any](path string, parse func([]byte) (T, error), d Deps) (*file[T], error) {
	f := &file[T]{path: strings.TrimPrefix(path, "file://"), parse: parse, now: d.Now, report: d.File, settle: settleFor}
	info, err := os.Stat(f.path)
	if err == nil {
		_, err = f.load(info)
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.path, withoutPath(err))
	}
	f.next.Store(f.now().Add(lookEvery).UnixNano())
	return f, nil
}

// get returns the content.
func (f *file[T]) get() *T {
	if now := f.now(); now.UnixNano() >= f.next.Load() {
		f.look(now)
	}
	return f.content.Load()
}

// look reads the file when it changed. Who comes meanwhile waits: what was taken out
// of the file must not be let in for having come at the right moment.
func (f *file[T]) look(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.UnixNano() < f.next.Load() {
		return
	}
	f.next.Store(now.Add(lookEvery).UnixNano())
	info, err := os.Stat(f.path)
	if err == nil {
		if info.Size() == f.size && info.ModTime().Equal(f.changed) && f.read.Sub(f.changed) > racy {
			return
		}
		if age := time.Since(info.ModTime()); age >= 0 && age < f.settle {
			return // somebody may be writing
		}
		var news bool
		if news, err = f.load(info); err == nil && !news && f.failure == "" {
			return
		}
	}
	text := ""
	if err != nil {
		err = withoutPath(err)
		if text = err.Error(); text == f.failure {
			return // said before
		}
	}
	f.failure = text
	f.report(f.path, err)
}

// FileState is what is known of a file that an authenticator reads while it runs.
type FileState struct {
	Path   string
	Err    error     // why what it held before is in force; nil: it was good when it was last looked at
	ReadAt time.Time // when what is in force was read
}

// FileReader is implemented by authenticators that read files while they run.
type FileReader interface {
	// Files returns the state of each; one is looked at first when that is due.
	Files() []FileState
}

// state is that of f, none when f is nil.
func (f *file[T]) state() []FileState {
	if f == nil {
		return nil
	}
	f.get()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FileState{Path: f.path, ReadAt: f.read}
	if f.failure != "" {
		s.Err = errors.New(f.failure)
	}
	return []FileState{s}
}

// load reads and parses the file and says whether its content is new.
func (f *file[T]) load(info fs.FileInfo) (news bool, err error) {
	if !info.Mode().IsRegular() {
		return false, errors.New("is not a regular file")
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return false, err
	}
	defer opened.Close()
	read := time.Now()
	text, err := io.ReadAll(io.LimitReader(opened, maxFileBytes+1))
	if err != nil {
		return false, err
	}
	if len(text) > maxFileBytes {
		return false, fmt.Errorf("is larger than %d MiB", maxFileBytes>>20)
	}
	sum := sha256.Sum256(text)
	if f.content.Load() == nil || sum != f.sum {
		content, err := f.parse(text)
		if err != nil {
			return false, err
		}
		f.content.Store(&content)
		f.sum, news = sum, true
	}
	f.size, f.changed, f.read = info.Size(), info.ModTime(), read
	return news, nil
}

// withoutPath is the cause of a file error; the path is named already.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
