package manage

import (
	"context"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
)

// KeySchedule is what a set's keys are for, and when; newest first.
type KeySchedule struct {
	Keys []ScheduledKey `json:"keys"`
}

// ScheduledKey is a key without its material.
type ScheduledKey struct {
	ID  string `json:"kid"`
	Alg string `json:"alg"`
	// State is signs, next (published, signs from SignsFrom on), past (verifies what it
	// signed, until PublishedUntil), verifies (public), or empty in sets that the program
	// does not sign with.
	State          string     `json:"state,omitempty"`
	CreatedAt      time.Time  `json:"created_at"`
	SignsFrom      *time.Time `json:"signs_from,omitempty"`
	PublishedUntil *time.Time `json:"published_until,omitempty"`
}

// Schedule returns fault.NotFound for a set without keys.
func (s *Keys) Schedule(ctx context.Context, set string) (KeySchedule, error) {
	stored, err := s.Store.Keys(ctx, set)
	if err == nil && len(stored) == 0 {
		err = fault.New(fault.NotFound, "unknown_key_set", "there is no key set of that name")
	}
	if err != nil {
		return KeySchedule{}, err
	}
	out := KeySchedule{Keys: []ScheduledKey{}}
	created := map[string]time.Time{}
	for _, k := range stored {
		created[k.ID] = k.CreatedAt
		if s.Own[set] != nil {
			continue
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(k.JWK); err != nil {
			return KeySchedule{}, fmt.Errorf("stored key %s/%s: %w", set, k.ID, err)
		}
		out.Keys = append(out.Keys, ScheduledKey{ID: k.ID, Alg: key.Algorithm, CreatedAt: k.CreatedAt})
	}
	if ring := s.Own[set]; ring != nil {
		now := s.Now()
		for _, k := range ring.Schedule() {
			one := ScheduledKey{ID: k.ID, Alg: k.Algorithm, CreatedAt: created[k.ID], State: "past"}
			switch {
			case !k.Private:
				one.State = "verifies"
			case k.Signs:
				one.State = "signs"
			case k.From.After(now):
				one.State = "next"
			}
			if k.Private {
				one.SignsFrom = timeOf(k.From)
			}
			one.PublishedUntil = timeOf(k.Until)
			out.Keys = append(out.Keys, one)
		}
	}
	return out, nil
}

// Rotate gives the keys of a set successors, and returns the schedule. In a set of the
// program's own they are published at once and sign later; a key whose successor waits
// gets no second one. In another set a key like the newest one is added.
func (s *Keys) Rotate(ctx context.Context, set string) (KeySchedule, error) {
	if ring := s.Own[set]; ring != nil {
		if err := ring.Rotate(ctx); err != nil {
			return KeySchedule{}, err
		}
		if err := apply(ctx, s.Reload); err != nil {
			return KeySchedule{}, err
		}
		return s.Schedule(ctx, set)
	}
	stored, err := s.Store.Keys(ctx, set)
	if err == nil && len(stored) == 0 {
		err = fault.New(fault.NotFound, "unknown_key_set", "there is no key set of that name")
	}
	if err != nil {
		return KeySchedule{}, err
	}
	var newest jose.JSONWebKey
	if err := newest.UnmarshalJSON(stored[0].JWK); err != nil {
		return KeySchedule{}, fmt.Errorf("stored key %s/%s: %w", set, stored[0].ID, err)
	}
	if _, err := s.Generate(ctx, set, NewKey{Alg: newest.Algorithm, Use: newest.Use}); err != nil {
		return KeySchedule{}, err
	}
	return s.Schedule(ctx, set)
}

// timeOf returns nil for the zero time.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
