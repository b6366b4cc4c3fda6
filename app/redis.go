package app

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/redis"
)

// openRedis connects to Redis, when there is one. One that is away stops no start.
func (a *App) openRedis(context.Context) error {
	if a.cfg.Redis.URL == "" {
		return nil
	}
	roots, err := authorities(a.cfg.Redis.CAFile)
	if err != nil {
		return fmt.Errorf("redis.ca_file: %w", err)
	}
	a.metrics.Redis(true)
	a.redis, err = redis.Open(redis.Options{
		URL: a.cfg.Redis.URL, Timeout: a.cfg.Redis.Timeout, Prefix: a.cfg.Redis.KeyPrefix,
		Dial: outboundDialer().DialContext, TLS: &tls.Config{RootCAs: roots},
		Changed: a.redisChanged,
	})
	if err != nil {
		return fmt.Errorf("redis.url: %w", err)
	}
	return nil
}

// redisChanged tells once that Redis went or is back.
func (a *App) redisChanged(err error) {
	a.metrics.Redis(err == nil)
	switch {
	case err == nil:
		a.log.Info("redis is back")
	case a.cfg.RateLimits.OnRedisFailure == "refuse":
		a.log.Error("redis is away; requests under rate limits are refused until it is back", "error", err.Error())
	default:
		a.log.Error("redis is away; rate limits are counted by this process alone until it is back", "error", err.Error())
	}
}

// buckets count for the rate limits of rules.
func (a *App) buckets() *ratelimit.Buckets {
	b := ratelimit.NewBuckets(a.cfg.RateLimits.MaxKeys, a.now)
	if a.redis != nil {
		b.Share(&ratelimit.Shared{Redis: a.redis, Refuse: a.cfg.RateLimits.OnRedisFailure == "refuse", Alone: a.metrics.RateLimitAlone})
	}
	return b
}

// redisState is what /health/ready?verbose tells of Redis; nil without one. A Redis that
// is away does not make the program unready: all nodes would leave at once.
func (a *App) redisState() any {
	if a.redis == nil {
		return nil
	}
	state := "up"
	if !a.redis.Up() {
		state = "away"
	}
	return map[string]string{"status": state}
}
