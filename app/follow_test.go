package app

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// written is a revision log whose first changes were swept away.
type written struct {
	all   []store.Change
	swept int64
	down  error
}

func (w *written) Revision(context.Context) (int64, error) { return int64(len(w.all)), nil }

func (w *written) ChangesSince(_ context.Context, after int64, limit int) ([]store.Change, error) {
	if w.down != nil {
		return nil, w.down
	}
	if after < w.swept {
		return nil, fault.New(fault.Conflict, "revision_swept", "swept away")
	}
	return w.all[after:min(len(w.all), int(after)+limit)], nil
}

func TestAChangeThatCannotBeAppliedHoldsUpNoRevocationAndIsTriedAgain(t *testing.T) {
	log := &written{all: []store.Change{{Revision: 1, Topic: store.Keys, Item: "set"}, {Revision: 2, Topic: store.Tokens, Item: "family"}}}
	broken := true
	var applied []string
	f := &follower{changes: log, deaf: func() {}, apply: func(_ context.Context, c store.Change) error {
		if broken && c.Topic == store.Keys {
			return errors.New("sealed with a secret that this node does not have")
		}
		applied = append(applied, string(c.Topic)+" "+c.Item)
		return nil
	}}
	if err := f.poll(t.Context()); err == nil {
		t.Error("a change that could not be applied is no error")
	}
	if diff := cmp.Diff([]string{"tokens family"}, applied); diff != "" {
		t.Errorf("applied at first (-want +got):\n%s", diff)
	}
	if err := f.poll(t.Context()); err == nil {
		t.Error("the change was forgotten")
	}
	broken, applied = false, nil
	log.all = append(log.all, store.Change{Revision: 3, Topic: store.Keys, Item: "set"})
	for range 2 {
		if err := f.poll(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"keys set"}, applied); diff != "" {
		t.Errorf("applied later (-want +got):\n%s", diff)
	}
}

func TestWhatIsReadWholeIsReadOncePerBatch(t *testing.T) {
	log := &written{}
	for i, c := range []store.Change{{Topic: store.Rules, Item: "r1"}, {Topic: store.Tokens, Item: "t1"}, {Topic: store.Rules, Item: "r2"}, {Topic: store.Keys, Item: "k1"}, {Topic: store.Tokens, Item: "t2"}, {Topic: store.Keys, Item: "k2"}} {
		c.Revision = int64(i + 1)
		log.all = append(log.all, c)
	}
	var applied []string
	f := &follower{changes: log, deaf: func() {}, apply: func(_ context.Context, c store.Change) error {
		applied = append(applied, c.Item)
		return nil
	}}
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.all = append(log.all, store.Change{Revision: 7, Topic: store.Rules, Item: "r3"})
	if err := f.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"r1", "t1", "k1", "t2", "r3"}, applied); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestANodeThatWasCutOffForTooLongLoadsEverythingAnew(t *testing.T) {
	log := &written{all: []store.Change{{Revision: 1, Topic: store.Rules}, {Revision: 2, Topic: store.Tokens, Item: "swept"}}, swept: 2}
	var done []string
	fail := true
	f := &follower{
		changes: log,
		deaf:    func() {},
		apply:   func(_ context.Context, c store.Change) error { done = append(done, c.Item); return nil },
		reload: func(context.Context) error {
			if fail {
				return errors.New("the database is gone again")
			}
			done = append(done, "everything")
			return nil
		},
	}
	if err := f.poll(t.Context()); err == nil {
		t.Error("a reload that failed is no error")
	}
	fail = false
	if err := f.poll(t.Context()); err != nil {
		t.Error(err)
	}
	log.all = append(log.all, store.Change{Revision: 3, Topic: store.Tokens, Item: "new"})
	if err := f.poll(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"everything", "new"}, done); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsCachedIsForgottenWhenChangesCannotBeHeardOf(t *testing.T) {
	forgotten := 0
	f := &follower{changes: &written{down: errors.New("no database")}, deaf: func() { forgotten++ }}
	if err := f.poll(t.Context()); err == nil {
		t.Error("a log that cannot be read is no error")
	}
	if forgotten != 1 {
		t.Errorf("forgotten %d times, want once", forgotten)
	}
}
