package handler

import (
	"encoding/json"
	"reflect"
	"time"
)

// Duration is a span of time in a configuration, written like 500ms, 30s or 1h.
// Negative values are refused.
type Duration time.Duration

// UnmarshalJSON accepts a string in Go's duration syntax.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if v, err := time.ParseDuration(text); err == nil && v >= 0 {
			*d = Duration(v)
			return nil
		}
	}
	// This type of error makes encoding/json add the field's name.
	return &json.UnmarshalTypeError{Value: string(raw) + " (write 500ms, 30s or 1h)", Type: reflect.TypeFor[Duration]()}
}

// MarshalText writes Go's duration syntax.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
