package errorhandlers

import (
	"net/http"

	"github.com/gatewarden/gatewarden/handler"
)

// Catalog returns the error handlers by name.
func Catalog() handler.Catalog[Handler] {
	return handler.Catalog[Handler]{
		"html":     handler.Of(func() HTMLConfig { return HTMLConfig{} }, newHTML),
		"json":     handler.Of(func() JSONConfig { return JSONConfig{} }, newJSON),
		"redirect": handler.Of(func() RedirectConfig { return RedirectConfig{Code: http.StatusFound} }, newRedirect),
		"www_authenticate": handler.Of(func() WWWAuthenticateConfig {
			return WWWAuthenticateConfig{Realm: "Please authenticate.", Scheme: "Basic"}
		}, newWWWAuthenticate),
	}
}
