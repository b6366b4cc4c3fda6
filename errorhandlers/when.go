package errorhandlers

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/strictjson"
)

// Conditions say which refusals a handler answers: those that meet one of them.
// An empty list means all.
type Conditions []When

// When is met when the error is one of Error (any, when empty) and the request
// meets all of Request.
type When struct {
	// Error holds names of statuses: bad_request, unauthorized, forbidden, not_found,
	// conflict, request_entity_too_large, too_many_requests, internal_server_error,
	// service_unavailable, gateway_timeout.
	Error   []string    `json:"error"`
	Request WhenRequest `json:"request"`
}

// WhenRequest is met when every part that is set is.
type WhenRequest struct {
	// CIDR lists networks, one of which the client's address is in, after trusted
	// proxies were resolved.
	CIDR []string `json:"cidr"`
	// RemoteIP is another spelling of CIDR.
	RemoteIP WhenRemoteIP `json:"remote_ip"`
	Header   WhenHeader   `json:"header"`
}

// WhenRemoteIP is Oathkeeper's spelling of WhenRequest.CIDR.
type WhenRemoteIP struct {
	Match []string `json:"match"`
	// RespectForwardedForHeader is accepted and changes nothing: trusted_proxies
	// says whose X-Forwarded-For counts, and what any client wrote there never does.
	RespectForwardedForHeader bool `json:"respect_forwarded_for_header"`
}

// WhenHeader looks at header fields. Wildcards count in the configured values
// only: a request for */* meets a configured */*, not text/html.
type WhenHeader struct {
	// ContentType lists media types; a request without one is application/octet-stream.
	ContentType []string `json:"content_type"`
	// Accept lists media types; a request without the field is application/octet-stream.
	Accept []string `json:"accept"`
}

// UnmarshalJSON replaces the list. Without it, encoding/json would decode a rule's
// list over the elements of the operator's, and mix the two.
func (c *Conditions) UnmarshalJSON(raw []byte) error {
	var fresh []When
	if err := strictjson.Unmarshal(raw, &fresh); err != nil {
		return fmt.Errorf("when: %w", err)
	}
	*c = fresh
	return nil
}

var statusNames = map[string]fault.Kind{
	"bad_request": fault.Invalid, "unauthorized": fault.Unauthenticated, "forbidden": fault.Forbidden, "not_found": fault.NotFound,
	"conflict": fault.Conflict, "request_entity_too_large": fault.TooLarge, "request_uri_too_long": fault.TooLong, "too_many_requests": fault.RateLimited,
	"internal_server_error": fault.Internal, "service_unavailable": fault.Unavailable, "gateway_timeout": fault.Timeout,
}

// conditions are compiled Conditions.
type conditions []condition

type condition struct {
	kinds               []fault.Kind
	networks            []netip.Prefix
	contentType, accept []string
}

func compile(list Conditions) (conditions, error) {
	var cs conditions
	var errs []error
	for i, w := range list {
		at := "when." + strconv.Itoa(i) + "."
		var c condition
		for _, name := range w.Error {
			kind, ok := statusNames[name]
			if !ok {
				errs = append(errs, fmt.Errorf("%serror: unknown error %q", at, name))
			}
			c.kinds = append(c.kinds, kind)
		}
		networks := w.Request.CIDR
		if len(w.Request.RemoteIP.Match) > 0 {
			if len(networks) > 0 {
				errs = append(errs, fmt.Errorf("%srequest: cidr and remote_ip are the same condition, set one", at))
			}
			networks = w.Request.RemoteIP.Match
		}
		for _, n := range networks {
			p, err := netip.ParsePrefix(n)
			if err != nil {
				errs = append(errs, fmt.Errorf("%srequest: %q is not a network such as 192.0.2.0/24", at, n))
			}
			c.networks = append(c.networks, p)
		}
		var err error
		if c.contentType, err = configuredRanges(at+"request.header.content_type", w.Request.Header.ContentType); err != nil {
			errs = append(errs, err)
		}
		if c.accept, err = configuredRanges(at+"request.header.accept", w.Request.Header.Accept); err != nil {
			errs = append(errs, err)
		}
		cs = append(cs, c)
	}
	return cs, errors.Join(errs...)
}

func configuredRanges(field string, list []string) ([]string, error) {
	var ranges []string
	for _, text := range list {
		got := mediaRanges([]string{text})
		if len(got) == 0 {
			return nil, fmt.Errorf("%s: %q is not a media type", field, text)
		}
		for _, r := range got {
			ranges = append(ranges, r.name)
		}
	}
	return ranges, nil
}

// Answers reports whether one of the conditions is met, or there is none.
func (cs conditions) Answers(r *access.Request, err error) bool {
	return len(cs) == 0 || slices.ContainsFunc(cs, func(c condition) bool { return c.met(r, err) })
}

func (c *condition) met(r *access.Request, err error) bool {
	if len(c.kinds) > 0 && !slices.Contains(c.kinds, fault.KindOf(err)) {
		return false
	}
	if r == nil {
		r = &access.Request{}
	}
	if len(c.networks) > 0 {
		client := r.Client.Unmap().WithZone("")
		if !slices.ContainsFunc(c.networks, func(p netip.Prefix) bool { return p.Contains(client) }) {
			return false
		}
	}
	return (len(c.contentType) == 0 || anyRange(requested(r.Header["Content-Type"]), c.contentType)) &&
		(len(c.accept) == 0 || anyRange(requested(r.Header["Accept"]), c.accept))
}

func requested(values []string) []mediaRange {
	if strings.Join(values, "") == "" {
		return []mediaRange{{"application/octet-stream", 1}}
	}
	return mediaRanges(values)
}
