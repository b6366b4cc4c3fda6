package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/app"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// A system secret is exchanged while requests come: it is known to every node before one
// seals with it, and the old one is dropped when nothing needs it.
func TestASystemSecretIsExchangedUnderLoadWithoutAFailedRequest(t *testing.T) {
	const oldSecret, newSecret = "the-old-system-secret-of-the-test", "the-new-system-secret-of-the-test"
	for _, database := range testenv.Databases() {
		if !database.Durable {
			continue
		}
		t.Run(database.Name, func(t *testing.T) {
			dsn := database.DSN(t)
			node := func(secrets ...string) *program {
				return start(t, settings{dsn: dsn, keys: map[string]string{
					"urls.self.issuer": "http://127.0.0.1:4444", "secrets.system": strings.Join(secrets, ","), "strategies.access_token": "opaque",
				}})
			}
			var serving atomic.Pointer[program]
			first := node(oldSecret)
			serving.Store(first)
			var made struct {
				Secret string `json:"client_secret"`
			}
			post(t, first.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated).decode(t, &made)
			post(t, first.management+"/users", `{"id": "alice", "username": "alice", "password": "a password of the test"}`).want(t, http.StatusCreated)
			var tokens []string
			for range 30 {
				tokens = append(tokens, clientToken(t, first, "shop", made.Secret, "orders"))
			}
			check := func(p *program, token string) error {
				if a := send(t, "POST", p.management+"/oauth2/introspect", url.Values{"token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded"); !strings.Contains(a.body, `"active":true`) {
					return fmt.Errorf("introspect: %d %s", a.status, a.body)
				}
				form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {made.Secret}}
				if a := send(t, "POST", p.public+"/oauth2/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded"); a.status != http.StatusOK {
					return fmt.Errorf("token: %d %s", a.status, a.body)
				}
				for _, path := range []string{"/users/alice", "/keys/hydra.openid.id-token"} {
					if a := send(t, "GET", p.management+path, ""); a.status != http.StatusOK {
						return fmt.Errorf("%s: %d %s", path, a.status, a.body)
					}
				}
				return nil
			}
			var asked atomic.Int64
			var use sync.RWMutex // held by requests, so that no node is stopped under one
			stop := make(chan struct{})
			var load sync.WaitGroup
			for worker := range 3 {
				load.Go(func() {
					for i := worker; ; i++ {
						select {
						case <-stop:
							return
						case <-time.After(2 * time.Millisecond):
						}
						use.RLock()
						err := check(serving.Load(), tokens[i%len(tokens)])
						use.RUnlock()
						if asked.Add(1); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			next := func(secrets ...string) {
				before, after := serving.Load(), node(secrets...)
				use.Lock()
				serving.Store(after)
				use.Unlock()
				count := asked.Load()
				eventually(t, "requests at the new node", func() bool { return asked.Load() > count+10 || t.Failed() })
				if err := before.stop(); err != nil {
					t.Error(err)
				}
			}
			next(oldSecret, newSecret)
			next(newSecret, oldSecret)
			if _, err := app.Reseal(t.Context(), dsn, []string{newSecret, "an unrelated system secret"}, func(app.Resealed) {}); err == nil || !strings.Contains(err.Error(), "secrets.system") {
				t.Errorf("without the old secret: got %v", err)
			}
			count := asked.Load()
			done, err := app.Reseal(t.Context(), dsn, []string{newSecret, oldSecret}, func(app.Resealed) {})
			if err != nil || done.Sealed < int64(len(tokens)) {
				t.Errorf("sealed %d rows anew, %v", done.Sealed, err)
			}
			eventually(t, "requests beside and after", func() bool { return asked.Load() > count+10 || t.Failed() })
			next(newSecret)
			close(stop)
			load.Wait()
			for _, token := range tokens {
				if err := check(serving.Load(), token); err != nil {
					t.Error("without the old secret: ", err)
				}
			}
			if _, err := app.Reseal(t.Context(), dsn, []string{oldSecret}, func(app.Resealed) {}); err == nil {
				t.Error("the old secret still opens the database")
			}
			t.Logf("%d requests, %d rows sealed anew", asked.Load(), done.Sealed)
		})
	}
}
