package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// streams is an API with a WebSocket and an event stream, both without end.
func streams(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ws") {
			c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for err == nil {
				_, _, err = c.ReadMessage()
			}
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s
}

func TestStreamsEndWithinASecondOfTheirTokensRevocationOrExpiry(t *testing.T) {
	dsn := "sqlite://" + filepath.Join(t.TempDir(), "streams.db")
	rules := `[{"id": "live", "match": {"url": "http://<[^/]+>/live/<.*>", "methods": ["GET"]}, "upstream": {"url": "` + streams(t).URL + `"},
		"authenticators": [{"handler": "oauth2_introspection"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]}]`
	node := func(ttl string) *program {
		return start(t, settings{dsn: dsn, rules: rules, keys: map[string]string{"urls.self.issuer": "http://127.0.0.1:4444", "ttl.access_token": ttl}})
	}
	one, other, brief := node("1h"), node("1h"), node("2s")
	var created struct {
		Secret string `json:"client_secret"`
	}
	post(t, one.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated).decode(t, &created)
	for _, c := range []struct {
		name   string
		at     *program
		expire bool
	}{
		{"revoked here", one, false},
		{"revoked by another node", other, false},
		{"expired", brief, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			token := clientToken(t, c.at, "shop", created.Secret, "orders")
			expires := time.Now().Add(2 * time.Second)
			header := http.Header{"Authorization": {"Bearer " + token}}
			socket, _, err := websocket.DefaultDialer.Dial(strings.Replace(c.at.proxy, "http:", "ws:", 1)+"/live/ws", header)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			req, err := http.NewRequestWithContext(t.Context(), "GET", c.at.proxy+"/live/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header
			client := client()
			defer client.CloseIdleConnections()
			events, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer events.Body.Close()
			r := bufio.NewReader(events.Body)
			if line, err := r.ReadString('\n'); err != nil || line != "data: hello\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			ended := expires
			if !c.expire {
				revoke(t, one, "shop", created.Secret, token)
				ended = time.Now()
			}
			_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
			_, _, err = socket.ReadMessage()
			if closed := new(websocket.CloseError); !errors.As(err, &closed) || closed.Code != websocket.ClosePolicyViolation {
				t.Errorf("WebSocket: got %v, want a close frame 1008", err)
			}
			if _, err := io.Copy(io.Discard, r); err == nil {
				t.Error("the event stream ended as if it were whole")
			}
			// A second when nothing else runs; a busy machine may take longer.
			if took := time.Since(ended); took > 5*time.Second {
				t.Errorf("the streams ended after %v", took)
			}
		})
	}
}
