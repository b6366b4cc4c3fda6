//go:build cloudblob

package source

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnObjectOfABucketIsFollowed(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var mu sync.Mutex
	text, tag, gets := yaml("a"), `"1"`, 0
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/bucket/rules.yaml" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", tag)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		if r.Method == http.MethodGet {
			gets++
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(store.Close)
	l := load(t, Options{RemotePoll: 20 * time.Millisecond,
		Repositories: []string{"s3://bucket/rules.yaml?region=x&use_path_style=true&endpoint=" + store.URL}})
	if diff := cmp.Diff([]string{"a"}, ids(l)); diff != "" {
		t.Fatalf("%s %+v", diff, l.Status())
	}
	if err := l.Reload(t.Context()); err != nil || gets != 1 {
		t.Errorf("an object that has not changed was read %d times: %v", gets, err)
	}
	mu.Lock()
	text, tag = yaml("b"), `"2"`
	mu.Unlock()
	if err := l.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"b"}, ids(l)); diff != "" {
		t.Error(diff)
	}
}
