// Package errorhandlers says what a refused client is told: html, json, redirect,
// www_authenticate, listed in catalog.go.
package errorhandlers

import "github.com/gatewarden/gatewarden/access"

// Handler turns a refusal into a response. It returns data; nothing is written.
type Handler interface {
	Refuse(r *access.Request, err error) access.Response
}

// Selective is implemented by handlers that answer only some refusals (when).
type Selective interface {
	Answers(r *access.Request, err error) bool
}
