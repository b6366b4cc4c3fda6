package ratelimit

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/redis"
)

// ReasonUnavailable is the reason id of a refusal because nothing can be counted.
const ReasonUnavailable = "rate_limit_unavailable"

// Shared lets several processes count together in Redis.
type Shared struct {
	// Redis is required.
	Redis *redis.Client
	// Refuse answers 503 while Redis is away. Otherwise each process counts alone then.
	Refuse bool
	// Alone is called for each question that Redis did not answer. Nil: nothing.
	Alone func()

	now func() time.Time // for tests; nil: Redis's own clock
}

// gcra takes one request from each bucket in order, as Buckets.take does, and stops
// behind the first that has no room. Times are microseconds, which a double holds
// exactly until the year 2255; nanoseconds it would not. A time that is further ahead
// than a full bucket came from a clock that was set back since.
//
// ARGV: now, or 0 for Redis's clock; interval and depth of each bucket.
// Answer: what is left in each bucket; as the last item of fewer or as many, the
// negative wait for one that has no room.
var gcra = redis.NewScript(`
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local answer = {}
for i, key in ipairs(KEYS) do
  local interval, depth = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local was = redis.pcall('GET', key)
  was = type(was) == 'string' and tonumber(was) or now
  if was ~= was or was < now then was = now end
  local next = math.min(was, now + depth) + interval
  local over = next - now - depth
  if over > 0 then
    answer[i] = -over
    return answer
  end
  redis.call('SET', key, string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
  answer[i] = math.floor((depth - (next - now)) / interval)
end
return answer
`)

var errAnswer = errors.New("redis: the answer is not one of the script")

// bucket is what one limit counts a request under.
type bucket struct {
	limit *Limit
	key   bucketKey
}

// micros is the interval in whole microseconds, rounded up: never more than the rate.
func (l *Limit) micros() int64 {
	return int64((l.interval + time.Microsecond - 1) / time.Microsecond)
}

// take asks Redis for all buckets at once. Taken has an entry for each up to the first
// without room.
func (s *Shared) take(ctx context.Context, buckets []bucket) ([]taken, error) {
	keys, args := make([]string, len(buckets)), make([]any, 1, 1+2*len(buckets))
	args[0] = int64(0)
	if s.now != nil {
		args[0] = s.now().UnixMicro()
	}
	for i, b := range buckets {
		keys[i] = s.Redis.Key("limit:" + base64.RawURLEncoding.EncodeToString(b.key[:]))
		args = append(args, b.limit.micros(), b.limit.micros()*b.limit.burst)
	}
	answer, err := s.Redis.Run(ctx, gcra, keys, args)
	if err != nil {
		return nil, err
	}
	return read(answer, buckets)
}

// read checks the script's answer.
func read(answer []int64, buckets []bucket) ([]taken, error) {
	if len(answer) == 0 || len(answer) > len(buckets) {
		return nil, errAnswer
	}
	out := make([]taken, len(answer))
	for i, n := range answer {
		l, last := buckets[i].limit, i == len(answer)-1
		switch {
		case n >= 0 && n < l.burst && (!last || len(answer) == len(buckets)):
			out[i].left = n
		case n < 0 && last && n >= -l.micros():
			out[i].wait = time.Duration(-n) * time.Microsecond
		default:
			return nil, errAnswer
		}
	}
	return out, nil
}

// unavailable refuses what cannot be counted.
func unavailable(err error) error {
	return &fault.Error{Kind: fault.Unavailable, Reason: ReasonUnavailable, Message: "requests cannot be counted now", RetryAfter: time.Second, Err: err}
}
