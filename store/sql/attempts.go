package sql

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

// TakeAttempt counts one attempt in one conditional statement. Arrival is when the
// bucket would be full again: before the attempt it must not be later than burst - 1
// intervals from now. Half an interval is given away for clocks of nodes that differ.
func (s *Store) TakeAttempt(ctx context.Context, key string, p users.Pace) (wait time.Duration, err error) {
	id, interval := replayID("attempt", key), p.Interval.Milliseconds()
	for range attempts {
		now := millis(s.now())
		latest := now + int64(p.Burst-1)*interval + interval/2
		rows, err := s.exec(ctx, "UPDATE gw_attempts SET arrival = CASE WHEN arrival > ? THEN arrival + ? ELSE ? END WHERE id = ? AND arrival <= ?",
			now, interval, now+interval, id, latest)
		if err != nil || rows > 0 {
			return 0, err
		}
		var arrival int64
		err = s.one(ctx, "SELECT arrival FROM gw_attempts WHERE id = ?", []any{id}, &arrival)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err := s.exec(ctx, "INSERT INTO gw_attempts (id, arrival) VALUES (?, ?)", id, now+interval)
			if !errors.Is(err, errDuplicate) {
				return 0, err
			}
		case err != nil:
			return 0, s.fail(ctx, err)
		case arrival > latest:
			return time.Duration(arrival-latest) * time.Millisecond, nil
		}
		// Another attempt was counted or swept away in between: look again.
	}
	return 0, fault.New(fault.Unavailable, "database_unavailable", "attempts could not be counted")
}

// ReturnAttempt takes one counted attempt back.
func (s *Store) ReturnAttempt(ctx context.Context, key string, p users.Pace) error {
	_, err := s.exec(ctx, "UPDATE gw_attempts SET arrival = arrival - ? WHERE id = ?", p.Interval.Milliseconds(), replayID("attempt", key))
	return err
}
