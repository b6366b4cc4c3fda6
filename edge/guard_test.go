package edge

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAGuardTurnsAPanicInto500WithTheID(t *testing.T) {
	var log bytes.Buffer
	observed := 0
	h := Guard{Log: slog.New(slog.NewTextHandler(&log, nil)), Observe: func(_ *http.Request, status int, _ time.Duration) { observed = status }}.
		Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	id := w.Header().Get(RequestID)
	if w.Code != 500 || observed != 500 || id == "" || !strings.Contains(w.Body.String(), id) || !strings.Contains(log.String(), id) || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("got %d %v %s, observed %d, log %s", w.Code, w.Header(), w.Body, observed, log.String())
	}
}

func TestAGuardAbortsAnAnswerThatPanickedHalfway(t *testing.T) {
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("got %v, want the connection aborted", v)
		}
	}()
	Guard{}.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		panic("boom")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestAGuardBoundsBodiesAndReplacesTheRequestID(t *testing.T) {
	h := Guard{MaxBody: 3}.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		var tooLarge *http.MaxBytesError
		if string(got) != "123" || !errors.As(err, &tooLarge) {
			t.Errorf("got %q, %v", got, err)
		}
		if id := r.Header.Get(RequestID); id == "mine" || id == "" {
			t.Errorf("got request id %q", id)
		}
	}))
	r := httptest.NewRequest("POST", "/", strings.NewReader("1234"))
	r.Header.Set(RequestID, "mine")
	h.ServeHTTP(httptest.NewRecorder(), r)
}
