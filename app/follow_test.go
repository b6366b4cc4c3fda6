package app

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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
	f := &follower{now: time.Now, changes: log, heard: unheard, apply: func(_ context.Context, c store.Change) error {
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
	f := &follower{now: time.Now, changes: log, heard: unheard, apply: func(_ context.Context, c store.Change) error {
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
		now: time.Now, changes: log,
		heard: unheard,
		apply: func(_ context.Context, c store.Change) error { done = append(done, c.Item); return nil },
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

// unheard hears of nothing.
func unheard(store.Topic, time.Time) {}

func TestWhatANodeKnowsIsAsOldAsItsLastLookAtTheLog(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	h := newHearings(5*time.Second, func() time.Time { return now })
	log, broken := &written{}, false
	f := &follower{changes: log, now: func() time.Time { return now }, heard: h.heard, apply: func(_ context.Context, c store.Change) error {
		if broken && c.Topic == store.Policies {
			return errors.New("a policy cannot be read")
		}
		return nil
	}}
	state := func() string {
		return fmt.Sprintf("%t %t %s", h[store.Tokens].fresh(), h[store.Policies].fresh(), fault.MessageOf(h.ready(t.Context())))
	}
	for _, step := range []struct {
		what   string
		change func()
		after  time.Duration
		want   string
	}{
		{"at first", func() {}, 0, "true true "},
		{"down, within the bound", func() { log.down = errors.New("no database") }, 4999 * time.Millisecond, "true true "},
		{"down, beyond it", func() {}, time.Millisecond, "false false what this node knows of clients, keys, logouts, policies, rules, tokens may be older than storage.max_staleness (5s) and is not used"},
		{"back", func() { log.down = nil }, 0, "true true "},
		{"a change that cannot be applied, within the bound", func() {
			broken = true
			log.all = append(log.all, store.Change{Revision: 1, Topic: store.Policies})
		}, 4 * time.Second, "true true "},
		{"and beyond it, for its own topic alone", func() {}, time.Second, "true false what this node knows of policies may be older than storage.max_staleness (5s) and is not used"},
		{"applied", func() { broken = false }, 0, "true true "},
	} {
		step.change()
		now = now.Add(step.after)
		_ = f.poll(t.Context())
		if got := state(); got != step.want {
			t.Errorf("%s: got %s, want %s", step.what, got, step.want)
		}
	}
	now = now.Add(-time.Hour) // the clock was set back, so that nobody knows how long ago that was
	if h[store.Tokens].fresh() {
		t.Error("fresh an hour before the last look")
	}
}
