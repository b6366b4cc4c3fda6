package server

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// leaveScript goes on when every frame is there. Without it, or when one never comes,
// the page goes on after a few seconds.
const leaveScript = `addEventListener("load",function(){location.replace(document.getElementById("next").href)})`

// framesPage shows clients that the person has logged out (OpenID Connect Front-Channel
// Logout 1.0 section 3).
var framesPage = template.Must(template.New("frames").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Logging out</title>
<script>` + leaveScript + `</script></head>
<body><h1>Logging out</h1><p><a id="next" href="{{.Next}}">Go on</a></p>
{{range .Frames}}<iframe src="{{.}}" title="log out" width="0" height="0" style="display:none"></iframe>
{{end}}</body></html>
`))

// frames answers a logout with a page that opens the addresses in frames and then goes
// on to next.
func (s *Server) frames(w http.ResponseWriter, addresses []string, next string) {
	var sources []string
	for _, a := range addresses {
		if u, err := url.Parse(a); err == nil {
			sources = append(sources, u.Scheme+"://"+u.Host)
		}
	}
	slices.Sort(sources)
	sum := sha256.Sum256([]byte(leaveScript))
	noStore(w)
	w.Header().Set("Refresh", "7; url="+next)
	page(w, http.StatusOK, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; frame-src "+
		strings.Join(slices.Compact(sources), " ")+"; script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'",
		framesPage, map[string]any{"Next": next, "Frames": addresses})
}
