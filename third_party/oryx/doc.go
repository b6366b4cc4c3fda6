// Package oryx stands in for the three small packages of github.com/ory/x that
// github.com/ory/fosite uses. The original pulls in tracing exporters and
// loggers that the binary never calls; see docs/decisions/0002-fosite.md.
package oryx
