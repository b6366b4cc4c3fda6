package mutators

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/templates"
)

// HeaderConfig says which header fields go upstream.
type HeaderConfig struct {
	// Headers maps field names to templates. A field replaces what the client sent.
	Headers map[string]string `json:"headers"`
}

type header struct {
	fields templates.Fields
	owned  []string
}

var (
	_ Mutator     = (*header)(nil)
	_ HeaderOwner = (*header)(nil)
)

func newHeader(c HeaderConfig) (Mutator, error) {
	fields, err := templates.CompileFields("headers", c.Headers)
	if err != nil {
		return nil, err
	}
	return &header{fields: fields, owned: templates.Owned(fields.Names())}, nil
}

// Mutate sets the fields, all or none. A value that no header field can hold is
// fault.Invalid.
func (h *header) Mutate(_ context.Context, in access.Input, p *access.Pass) error {
	// One array for the values of all fields: each is cut to its own element.
	values, err := h.fields.Render(&in, p.Set)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if p.Set == nil {
		p.Set = make(http.Header, len(values))
	}
	for i, name := range h.fields.Names() {
		p.Set[name] = values[i : i+1 : i+1]
	}
	return nil
}

// OwnedHeaders returns the configured names but for the standard fields that
// clients send for reasons of their own, such as Authorization.
func (h *header) OwnedHeaders() []string { return slices.Clone(h.owned) }
