package sql

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/store"
)

// RecordLogout returns fault.Conflict when the token was used before, and records
// nothing then.
func (s *Store) RecordLogout(ctx context.Context, l relyingparty.Logout) error {
	names := slices.Sorted(maps.Keys(l.Ended)) // in one order, so that two do not wait for each other
	for _, name := range names {
		if err := checkID("logout", name); err != nil {
			return err
		}
	}
	record := s.dialect.upsert("gw_logouts", 2, "name", "ended_at", "expires_at")
	err := s.write(ctx, func(t *tx) error {
		if _, err := t.exec("INSERT INTO gw_replays (id, expires_at) VALUES (?, ?)", replayID("logout", l.Token), max(millis(l.Expires), t.now+minReplay.Milliseconds())+1); err != nil {
			return err
		}
		for _, name := range names {
			if _, err := t.exec(record, name, millis(l.Ended[name]), millis(l.Until)); err != nil {
				return err
			}
			t.changed(store.Logouts, name)
		}
		return nil
	})
	if errors.Is(err, errDuplicate) {
		return fault.Wrap(fault.Conflict, "used", "the logout token was used before", err)
	}
	return err
}

// LoggedOut returns for each name the latest time that was recorded; none is zero.
func (s *Store) LoggedOut(ctx context.Context, names ...string) ([]time.Time, error) {
	latest := make([]time.Time, len(names))
	var args []any
	for _, name := range names {
		if isKey(name) {
			args = append(args, name)
		}
	}
	if len(args) == 0 {
		return latest, nil
	}
	query := "SELECT name, MAX(ended_at) FROM gw_logouts WHERE name IN (?" + strings.Repeat(", ?", len(args)-1) + ") AND expires_at > ? GROUP BY name"
	err := s.each(ctx, query, append(args, millis(s.now())), func(rows *sql.Rows) error {
		var name string
		var at int64
		if err := rows.Scan(&name, &at); err != nil {
			return err
		}
		for i := range names {
			if names[i] == name {
				latest[i] = fromMillis(at)
			}
		}
		return nil
	})
	return latest, err
}
