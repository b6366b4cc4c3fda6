package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// fetchTimeout bounds one look at a remote repository.
const fetchTimeout = 30 * time.Second

// web is a file behind an http or https URL. It is asked for with the entity tag
// of the last answer (RFC 9110 section 13.1.2), so that what has not changed is not
// sent again. A fragment #sha256=HEX pins its content.
type web struct {
	name   string
	url    string
	pinned []byte // SHA-256, nil: any content
	client *http.Client

	etag, modified string // of last
	last           *unit
}

func openWeb(text string, client *http.Client) (*web, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, errors.New("is not an absolute URL")
	}
	if client == nil {
		return nil, errors.New("remote repositories need an HTTP client")
	}
	w := &web{name: redact(text)}
	if u.Fragment != "" {
		sum, found := strings.CutPrefix(u.Fragment, "sha256=")
		w.pinned, err = hex.DecodeString(sum)
		if !found || err != nil || len(w.pinned) != sha256.Size {
			return nil, fmt.Errorf("%s: the fragment must be sha256= and 64 hexadecimal digits", w.name)
		}
		u.Fragment = ""
	}
	w.url = u.String()
	own := *client
	own.Timeout = fetchTimeout
	own.CheckRedirect = stayEncrypted
	w.client = &own
	return w, nil
}

// stayEncrypted follows at most five redirects, none of them from https to http. Where
// they lead does not learn the URL that was asked, which may be signed.
func stayEncrypted(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer")
	switch {
	case len(via) > 5:
		return errors.New("more than five redirects")
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("redirected from https to " + r.URL.Scheme)
	}
	return nil
}

func (w *web) title() string { return w.name }

func (w *web) revision() string { return w.etag }

func (w *web) read(ctx context.Context) ([]unit, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	r.Header.Set("Accept", "application/json, application/yaml, text/plain;q=0.9, */*;q=0.5")
	if w.last != nil {
		if w.etag != "" {
			r.Header.Set("If-None-Match", w.etag)
		}
		if w.modified != "" {
			r.Header.Set("If-Modified-Since", w.modified)
		}
	}
	res, err := w.client.Do(r)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && w.last != nil:
		return []unit{*w.last}, nil
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answered %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	switch {
	case err != nil:
		return nil, withoutURL(err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	if sum := sha256.Sum256(data); w.pinned != nil && subtle.ConstantTimeCompare(sum[:], w.pinned) != 1 {
		return nil, fmt.Errorf("its SHA-256 is %x, not the one that is pinned", sum)
	}
	w.etag, w.modified = res.Header.Get("Etag"), res.Header.Get("Last-Modified")
	w.last = &unit{name: w.unitName(res.Header.Get("Content-Type")), data: bytes.Clone(data)}
	return []unit{*w.last}, nil
}

// unitName is the repository's name with an extension that says what the content
// is: that of the path, or else by its type.
func (w *web) unitName(contentType string) string {
	switch strings.ToLower(path.Ext(w.name)) {
	case ".json", ".yaml", ".yml":
		return w.name
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return w.name + "#.json"
	case strings.Contains(kind, "yaml"):
		return w.name + "#.yaml"
	}
	return w.name
}

// withoutURL takes the URL, whose query may hold a signature, out of an error of an
// http.Client.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

var _ remote = (*web)(nil)
