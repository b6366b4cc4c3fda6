package edge

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Refusal is the plain answer for err: its status and a JSON body
// {"error":{id,code,status,request,message}}, the shape of the error handler json:
// id is the reason id and request the decision id.
// Nothing of an internal error is told.
func Refusal(id string, err error) access.Response {
	status := fault.KindOf(err).HTTPStatus()
	reason := "internal"
	if err != nil {
		reason = fault.ReasonOf(err)
	}
	if status == http.StatusInternalServerError {
		reason = "internal"
	}
	a := gatewayError(id, status, reason, fault.MessageOf(err))
	var e *fault.Error
	if !errors.As(err, &e) {
		return a
	}
	if e.Challenge != "" {
		a.Header["Www-Authenticate"] = append([]string{e.Challenge}, e.OtherChallenges...)
	}
	if e.RetryAfter > 0 {
		a.Header["Retry-After"] = []string{strconv.Itoa(int((e.RetryAfter + time.Second - 1) / time.Second))}
	}
	return a
}

// gatewayError is an answer of the gateway itself. An empty message becomes the
// status text.
func gatewayError(id string, status int, reason, message string) access.Response {
	type inner struct {
		ID      string `json:"id"`
		Code    int    `json:"code"`
		Status  string `json:"status"`
		Request string `json:"request"`
		Message string `json:"message"`
	}
	text := http.StatusText(status)
	if message == "" {
		message = text
	}
	body, err := json.Marshal(map[string]inner{"error": {reason, status, text, id, message}})
	if err != nil {
		body = nil // five plain values always encode
	}
	return access.Response{Status: status, Body: append(body, '\n'), Header: http.Header{
		"Content-Type":           {"application/json; charset=utf-8"},
		"X-Content-Type-Options": {"nosniff"},
		"Cache-Control":          {"no-store"},
	}}
}

// writeResponse sends a; a's header stays untouched, because it may be shared.
func writeResponse(w http.ResponseWriter, a access.Response) {
	h := w.Header()
	for k, vv := range a.Header {
		h[k] = append([]string(nil), vv...)
	}
	w.WriteHeader(a.Status)
	if len(a.Body) > 0 {
		_, _ = w.Write(a.Body) // the client may be gone
	}
}
