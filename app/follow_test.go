package app

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// changeLog is a revision log in memory that was swept up to a revision.
type changeLog struct {
	all   []store.Change
	swept int64
	down  error
}

func (l *changeLog) Revision(context.Context) (int64, error) {
	if l.down != nil || len(l.all) == 0 {
		return 0, l.down
	}
	return l.all[len(l.all)-1].Revision, nil
}

func (l *changeLog) ChangesSince(_ context.Context, since int64, limit int) (list []store.Change, err error) {
	if l.down != nil {
		return nil, l.down
	}
	if since < l.swept {
		return nil, fault.New(fault.Conflict, "", "swept")
	}
	for _, c := range l.all {
		if c.Revision > since && len(list) < limit {
			list = append(list, c)
		}
	}
	return list, nil
}

// heard records what a follower did.
func heard(l *changeLog) (*follower, *[]string) {
	var did []string
	var failing bool
	return &follower{
		changes: l,
		apply: func(_ context.Context, c store.Change) error {
			if c.Item == "stubborn" && !failing {
				failing = true
				did = append(did, "failed")
				return errors.New("not now")
			}
			did = append(did, c.Item)
			return nil
		},
		reload: func(context.Context) error { did = append(did, "reload"); return nil },
		deaf:   func() { did = append(did, "deaf") },
	}, &did
}

func TestWhatIsReadWholeIsReadOncePerBatch(t *testing.T) {
	l := &changeLog{}
	for i, c := range []store.Change{{Topic: store.Rules, Item: "r1"}, {Topic: store.Tokens, Item: "t1"}, {Topic: store.Rules, Item: "r2"}, {Topic: store.Keys, Item: "k1"}, {Topic: store.Tokens, Item: "t2"}, {Topic: store.Keys, Item: "k2"}} {
		c.Revision = int64(i + 1)
		l.all = append(l.all, c)
	}
	f, did := heard(l)
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.all = append(l.all, store.Change{Revision: 7, Topic: store.Rules, Item: "r3"})
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"r1", "t1", "k1", "t2", "r3"}, *did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEveryChangeIsAppliedOnceAndInOrder(t *testing.T) {
	l := &changeLog{}
	var want []string
	for i := range changeBatch + 10 {
		item := string(rune('a' + i%26))
		l.all = append(l.all, store.Change{Revision: int64(i + 1), Topic: store.Clients, Item: item})
		want = append(want, item)
	}
	f, did := heard(l)
	for range 2 {
		if err := f.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, *did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAChangeThatCannotBeAppliedIsTriedAgain(t *testing.T) {
	l := &changeLog{all: []store.Change{{Revision: 1, Item: "a"}, {Revision: 2, Item: "stubborn"}, {Revision: 3, Item: "b"}}}
	f, did := heard(l)
	if err := f.poll(t.Context()); err == nil {
		t.Fatal("the failure was swallowed")
	}
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "failed", "stubborn", "b"}, *did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWhatIsCachedIsForgottenWhenChangesCannotBeHeardOf(t *testing.T) {
	l := &changeLog{down: errors.New("no database")}
	f, did := heard(l)
	if err := f.poll(t.Context()); err == nil {
		t.Fatal("the failure was swallowed")
	}
	if diff := cmp.Diff([]string{"deaf"}, *did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAFollowerThatWasAwayTooLongTakesEverythingAnew(t *testing.T) {
	l := &changeLog{all: []store.Change{{Revision: 7, Item: "lost"}, {Revision: 8, Item: "kept"}}, swept: 7}
	f, did := heard(l)
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.all = append(l.all, store.Change{Revision: 9, Item: "new"})
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deaf", "reload", "new"}, *did); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
