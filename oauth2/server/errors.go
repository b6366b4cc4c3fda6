package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
)

// wireError is an error as RFC 6749 section 5.2 writes it.
type wireError struct {
	Status      int    `json:"-"`
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Hint        string `json:"-"` // the end of Description: what is wrong with this request
}

// renamed are fosite's own error codes and the registered ones that say the same.
var renamed = map[string]string{
	"invalid_state": "invalid_request", "insufficient_entropy": "invalid_request", "not_found": "invalid_request",
	"invalid_token_format": "invalid_request", "unsupported_response_mode": "invalid_request",
	"misconfiguration": "server_error", "error": "server_error",
}

// wire returns what a client is told about err. Text of causes never leaves the
// process; a store that does not answer is temporarily_unavailable.
func wire(err error) wireError {
	switch kind := fault.KindOf(err); {
	case kind == fault.Unauthenticated:
		if code := fault.ReasonOf(err); code == "invalid_dpop_proof" || code == "use_dpop_nonce" {
			return wireError{Status: http.StatusBadRequest, Code: code, Description: printable(fault.MessageOf(err))} // RFC 9449 sections 5 and 8
		}
	case kind == fault.Unavailable || kind == fault.Timeout || errors.Is(err, context.Canceled):
		return wireError{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Description: "The server cannot answer right now. Try again later."}
	case kind == fault.RateLimited:
		return wireError{Status: http.StatusTooManyRequests, Code: "slow_down", Description: "Too many requests are being checked. Try again later."}
	case kind == fault.TooLarge || kind == fault.Invalid:
		return wireError{Status: http.StatusBadRequest, Code: "invalid_request", Description: printable(fault.MessageOf(err))}
	}
	var e *fosite.RFC6749Error
	if !errors.As(err, &e) {
		return wireError{Status: http.StatusInternalServerError, Code: "server_error"}
	}
	out := wireError{Status: e.CodeField, Code: e.ErrorField, Description: e.DescriptionField}
	if code, ok := renamed[out.Code]; ok {
		out.Code = code
		if code == "invalid_request" {
			out.Status = http.StatusBadRequest
		}
	}
	if out.Status >= http.StatusInternalServerError || out.Code == "server_error" {
		return wireError{Status: http.StatusInternalServerError, Code: "server_error"}
	}
	if e.HintField != "" {
		out.Description += " " + e.HintField
		out.Hint = printable(strings.TrimSpace(e.HintField))
	}
	out.Description = printable(strings.TrimSpace(out.Description))
	return out
}

// fail answers a direct request (token, revocation, introspection) with an error
// and records it. Only causes that are the server's own are logged.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, endpoint string, err error) {
	e := wire(err)
	s.report(r.Context(), endpoint, e, err)
	s.writeError(w, e)
}

// counted are the error codes that have a series of their own. Login and consent
// apps may choose any other.
var counted = map[string]bool{
	"invalid_request": true, "invalid_client": true, "invalid_grant": true, "unauthorized_client": true, "unsupported_grant_type": true,
	"unsupported_response_type": true, "invalid_scope": true, "access_denied": true, "server_error": true, "temporarily_unavailable": true,
	"login_required": true, "consent_required": true, "interaction_required": true, "request_forbidden": true, "request_not_supported": true,
	"request_uri_not_supported": true, "slow_down": true, "registration_not_supported": true, "invalid_target": true, "unknown_user_id": true, "invalid_binding_message": true, "invalid_authorization_details": true, "authorization_pending": true, "expired_token": true, "invalid_request_uri": true, "invalid_request_object": true, "invalid_dpop_proof": true, "use_dpop_nonce": true, "invalid_token": true, "insufficient_scope": true,
}

// report counts the error and logs what an operator must look at.
func (s *Server) report(ctx context.Context, endpoint string, e wireError, err error) {
	code := e.Code
	if !counted[code] {
		code = "other"
	}
	s.o.Metrics.OAuth2(endpoint, code)
	switch {
	case e.Status < http.StatusInternalServerError || errors.Is(err, context.Canceled):
	case fault.ReasonOf(err) == "client_metadata_document_unavailable": // which strangers bring about as they like
		s.o.Log.InfoContext(ctx, "a client metadata document cannot be had", "endpoint", endpoint, "error", cause(err))
	default:
		s.o.Log.ErrorContext(ctx, "oauth2 request failed", "endpoint", endpoint, "error", cause(err))
	}
}

// cause returns the innermost text that says what happened; fosite's own errors
// print as their code only.
func cause(err error) string {
	var e *fosite.RFC6749Error
	if errors.As(err, &e) {
		if e.Cause() != nil {
			return e.Cause().Error()
		}
		return strings.TrimSpace(e.ErrorField + " " + e.HintField + " " + e.DebugField)
	}
	return err.Error()
}

func (s *Server) writeError(w http.ResponseWriter, e wireError) {
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauth2", charset="UTF-8"`)
	}
	writeJSON(w, e.Status, s.body(e))
}

// writeJSON answers with a JSON body that must not be stored (RFC 6749 section 5.1).
func writeJSON(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	noStore(w)
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}
