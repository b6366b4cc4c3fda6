package server

import (
	"net/url"
	"strings"
)

// legacyError is an error as servers of fosite's first generations wrote it, with what
// is wrong here apart from what the code means. There is no error_debug: text of causes
// never leaves the process.
type legacyError struct {
	Code        string `json:"error"`
	Verbose     string `json:"error_verbose,omitempty"` // Hydra to 1.8
	Description string `json:"error_description,omitempty"`
	Hint        string `json:"error_hint,omitempty"`
	Status      int    `json:"status_code"`
}

func (e wireError) legacy() legacyError {
	text := strings.TrimSpace(strings.TrimSuffix(e.Description, e.Hint))
	return legacyError{Code: e.Code, Verbose: text, Description: text, Hint: e.Hint, Status: e.Status}
}

// body returns what a client is answered with.
func (s *Server) body(e wireError) any {
	if s.o.LegacyErrors {
		return e.legacy()
	}
	return e
}

// params returns what a browser takes to a client or to the error page.
func (s *Server) params(e wireError) url.Values {
	params := url.Values{"error": {e.Code}}
	if s.o.LegacyErrors && e.Hint != "" {
		old := e.legacy()
		e.Description = old.Description
		params.Set("error_hint", old.Hint)
	}
	if e.Description != "" {
		params.Set("error_description", e.Description)
	}
	return params
}
