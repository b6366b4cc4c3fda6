package registration

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/strictjson"
)

// settable are the members of RFC 7591 section 2 and its extensions that a stranger may
// set. Every other member of a client is the operator's; what is no member of a client
// is ignored, as RFC 7591 wants it.
var settable = []string{
	"redirect_uris", "token_endpoint_auth_method", "grant_types", "response_types", "client_name", "client_uri", "logo_uri", "scope", "contacts",
	"tos_uri", "policy_uri", "jwks_uri", "jwks", "audience", "subject_type", "sector_identifier_uri", "request_uris", "post_logout_redirect_uris",
	"frontchannel_logout_uri", "frontchannel_logout_session_required", "backchannel_logout_uri", "backchannel_logout_session_required",
	"token_endpoint_auth_signing_alg", "request_object_signing_alg", "userinfo_signed_response_alg", "id_token_signed_response_alg",
	"introspection_signed_response_alg", "authorization_signed_response_alg",
	"tls_client_auth_subject_dn", "tls_client_auth_san_dns", "tls_client_auth_san_uri", "tls_client_auth_san_ip", "tls_client_auth_san_email",
	"dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens", "require_pushed_authorization_requests", "require_signed_request_object",
}

// echoed are members of answers that clients send back; they change nothing. client_id
// and client_secret are looked at by who reads the metadata.
var echoed = []string{"client_id", "client_secret", "client_secret_expires_at", "created_at", "updated_at"}

// maxDepth is how deep metadata may nest.
const maxDepth = 16

// metadata is what a stranger has sent.
type metadata struct {
	members map[string]json.RawMessage
	client  oauth2.Client // the members that clients have
}

// has reports whether a member was sent that is not null.
func (m *metadata) has(name string) bool {
	raw, ok := m.members[name]
	return ok && string(bytes.TrimSpace(raw)) != "null"
}

// text returns a member that is a string.
func (m *metadata) text(name string) string {
	var text string
	_ = json.Unmarshal(m.members[name], &text)
	return text
}

// read reads client metadata. Names count as they are written, each once.
func read(body []byte) (*metadata, error) {
	m := &metadata{}
	if err := strictjson.CheckTo(maxDepth, body, nil); err != nil {
		return nil, invalid("", "the metadata is not JSON: "+err.Error())
	}
	if err := json.Unmarshal(body, &m.members); err != nil || m.members == nil {
		return nil, invalid("", "the metadata must be a JSON object")
	}
	return m, m.decode()
}

// decode reads the members that clients have.
func (m *metadata) decode() error {
	known := map[string]json.RawMessage{}
	for _, f := range fields() {
		if raw, ok := m.members[f.name]; ok {
			known[f.name] = raw
		}
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	m.client = oauth2.Client{}
	if err := json.Unmarshal(text, &m.client); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			name, _, _ := strings.Cut(te.Field, ".")
			return invalid("/"+name, "must not be "+te.Value)
		}
		return invalid("", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func invalid(pointer, message string) error {
	return &fault.Error{Kind: fault.Invalid, Reason: invalidMetadata, Pointer: pointer, Message: message}
}

// field is a member of a client's JSON.
type field struct {
	name  string
	index []int
}

// fields are all members of a client.
func fields() []field {
	var all []field
	for _, f := range reflect.VisibleFields(reflect.TypeFor[oauth2.Client]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			all = append(all, field{name, f.Index})
		}
	}
	return all
}

// merged returns current with what the stranger set. What it must not set may be sent if
// it is empty or what is so already: clients send back what they were answered.
func (m *metadata) merged(current oauth2.Client) (oauth2.Client, error) {
	c, v := current, &violations{}
	from, to := reflect.ValueOf(m.client), reflect.ValueOf(&c).Elem()
	for _, f := range fields() {
		sent, is := from.FieldByIndex(f.index), to.FieldByIndex(f.index)
		switch {
		case slices.Contains(settable, f.name):
			is.Set(sent)
		case nothing(sent) || slices.Contains(echoed, f.name) || reflect.DeepEqual(sent.Interface(), is.Interface()):
		default:
			v.add(invalidMetadata, "/"+f.name, "cannot be set by registration")
		}
	}
	slices.SortFunc(v.all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return c, errors.Join(v.all...)
}

// only returns a client with those of the sent members that are wanted.
func (m *metadata) only(wanted func(name string) bool) (c oauth2.Client) {
	from, to := reflect.ValueOf(m.client), reflect.ValueOf(&c).Elem()
	for _, f := range fields() {
		if wanted(f.name) {
			to.FieldByIndex(f.index).Set(from.FieldByIndex(f.index))
		}
	}
	return c
}

// nothing reports whether a value is that of a member that was not sent.
func nothing(v reflect.Value) bool {
	if raw, ok := v.Interface().(json.RawMessage); ok {
		text := string(bytes.TrimSpace(raw))
		return text == "" || text == "null" || text == "{}"
	}
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// client returns what the metadata makes of current within the policy.
func (p *Policy) client(m *metadata, current oauth2.Client) (oauth2.Client, error) {
	c, err := m.merged(current)
	if err != nil {
		return c, err
	}
	if strings.TrimSpace(c.Scope) == "" {
		c.Scope = strings.Join(p.scope(), " ")
	}
	if len(c.Audience) == 0 {
		c.Audience = current.Audience
	}
	if len(c.Audience) == 0 {
		c.Audience = slices.Clone(p.Audience)
	}
	if err := p.check(c, current); err != nil {
		return c, err
	}
	return c, nil
}
