package templates

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"github.com/gatewarden/gatewarden/access"
)

// session is what a template sees as its root, by Oathkeeper's names.
type session struct {
	// Subject is the subject's id.
	Subject string
	// Extra holds the subject's claims and attributes.
	Extra map[string]any
	// Header holds the fields written for the upstream so far.
	Header http.Header
	// MatchContext is the request.
	MatchContext matchContext
}

// matchContext is the request that matched the rule.
type matchContext struct {
	// RegexpCaptureGroups are the capture groups of the rule's URL pattern, from 0,
	// without the whole match.
	RegexpCaptureGroups []string
	URL                 *url.URL
	Method              string
	// Header holds the request's own fields.
	Header http.Header
}

var sessionType = reflect.TypeFor[session]()

// newSession copies what a template could change by calling methods (the URL) and,
// when isolated, everything else too: subjects are shared by requests.
func newSession(in *access.Input, header http.Header, isolated bool) *session {
	s := &session{
		Subject: in.Subject.ID,
		Extra:   in.Subject.Extra,
		Header:  header,
		MatchContext: matchContext{
			RegexpCaptureGroups: in.Captures,
			Method:              in.Request.Method,
			Header:              in.Request.Header,
		},
	}
	if u := in.Request.URL; u != nil {
		own := *u
		s.MatchContext.URL = &own
	}
	if isolated {
		s.Extra, _ = clone(reflect.ValueOf(s.Extra)).Interface().(map[string]any)
		s.Header = s.Header.Clone()
		s.MatchContext.Header = s.MatchContext.Header.Clone()
		s.MatchContext.RegexpCaptureGroups = slices.Clone(s.MatchContext.RegexpCaptureGroups)
	}
	return s
}

// clone copies maps and slices of any depth, which is what claims consist of.
func clone(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		c := reflect.New(v.Type()).Elem()
		c.Set(clone(v.Elem()))
		return c
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			c.SetMapIndex(it.Key(), clone(it.Value()))
		}
		return c
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			c.Index(i).Set(clone(v.Index(i)))
		}
		return c
	default:
		return v
	}
}
