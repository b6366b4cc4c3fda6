package authn

import "github.com/gatewarden/gatewarden/handler"

// Duration is a span of time in a configuration.
type Duration = handler.Duration
