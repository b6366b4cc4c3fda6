package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// documentAge is how long a rendered document is served without asking whether
// the keys changed.
const documentAge = time.Second

// document is a JSON answer that is rendered once and served as bytes.
type document struct {
	build   func() any
	now     func() time.Time
	current atomic.Pointer[rendered]
}

type rendered struct {
	body       []byte
	etag, size []string // field values; their capacity is used up, so that nobody can append to them
	at         time.Time
}

// Field values that all documents share, as etag and size are shared.
var (
	documentCaching = []string{"public, max-age=60, must-revalidate"}
	documentOrigins = []string{"*"}
	documentType    = []string{"application/json;charset=UTF-8"}
)

func (d *document) load() *rendered {
	now, old := d.now(), d.current.Load()
	if old != nil && now.Sub(old.at) < documentAge && !now.Before(old.at) {
		return old
	}
	body, err := json.Marshal(d.build())
	if err != nil { // public keys and strings always marshal
		panic(err)
	}
	sum := sha256.Sum256(body)
	fresh := &rendered{body: body, etag: []string{`"` + hex.EncodeToString(sum[:8]) + `"`}, size: []string{strconv.Itoa(len(body))}, at: now}
	if old != nil && bytes.Equal(old.body, body) {
		fresh.body = old.body
	}
	d.current.Store(fresh)
	return fresh
}

// ServeHTTP answers GET and HEAD, with an ETag (RFC 9110 section 8.8.3).
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	doc, h := d.load(), w.Header()
	h["Etag"], h["Cache-Control"], h["Access-Control-Allow-Origin"] = doc.etag, documentCaching, documentOrigins
	if r.Header.Get("If-None-Match") == doc.etag[0] {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Content-Type"], h["Content-Length"] = documentType, doc.size
	if r.Method != http.MethodHead {
		_, _ = w.Write(doc.body)
	}
}

// keySet is what tokens of the server are verified with.
func (s *Server) keySet() any {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, ring := range []Signer{s.o.IDTokens, s.o.AccessTokens} {
		for _, k := range ring.Public().Keys {
			if k.IsPublic() && !slices.ContainsFunc(set.Keys, func(has jose.JSONWebKey) bool { return has.KeyID == k.KeyID }) {
				set.Keys = append(set.Keys, k)
			}
		}
	}
	return set
}

// providerMetadata is the discovery document (OpenID Connect Discovery section 3,
// RFC 8414 section 2). It lists what works and nothing else.
type providerMetadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	JWKSURI                     string   `json:"jwks_uri"`
	UserinfoEndpoint            string   `json:"userinfo_endpoint"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	IntrospectionEndpoint       string   `json:"introspection_endpoint"`
	EndSessionEndpoint          string   `json:"end_session_endpoint"`
	ScopesSupported             []string `json:"scopes_supported"`
	ResponseTypes               []string `json:"response_types_supported"`
	ResponseModes               []string `json:"response_modes_supported"`
	AuthorizationResponseAlgs   []string `json:"authorization_signing_alg_values_supported"`
	PushEndpoint                string   `json:"pushed_authorization_request_endpoint"`
	DeviceEndpoint              string   `json:"device_authorization_endpoint"`
	RequirePAR                  bool     `json:"require_pushed_authorization_requests"`
	RequireSignedRequestObject  bool     `json:"require_signed_request_object"`
	RequestObjectAlgs           []string `json:"request_object_signing_alg_values_supported"`
	GrantTypes                  []string `json:"grant_types_supported"`
	BackchannelEndpoint         string   `json:"backchannel_authentication_endpoint,omitempty"`
	BackchannelModes            []string `json:"backchannel_token_delivery_modes_supported,omitempty"`
	BackchannelUserCode         *bool    `json:"backchannel_user_code_parameter_supported,omitempty"`
	DetailsTypes                []string `json:"authorization_details_types_supported,omitempty"`
	SubjectTypes                []string `json:"subject_types_supported"`
	IDTokenAlgs                 []string `json:"id_token_signing_alg_values_supported"`
	UserinfoAlgs                []string `json:"userinfo_signing_alg_values_supported"`
	TokenAuthMethods            []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs               []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs          []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs       []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAlgs           []string `json:"introspection_signing_alg_values_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	DPoPAlgs                    []string `json:"dpop_signing_alg_values_supported"`
	TLSBoundAccessTokens        bool     `json:"tls_client_certificate_bound_access_tokens"`
	Prompts                     []string `json:"prompt_values_supported"`
	Claims                      []string `json:"claims_supported"`
	ClaimsParameter             bool     `json:"claims_parameter_supported"`
	RequestParameter            bool     `json:"request_parameter_supported"`
	RequestURIParameter         bool     `json:"request_uri_parameter_supported"`
	RequireRequestURI           bool     `json:"require_request_uri_registration"`
	AuthorizationResponseIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogout           bool     `json:"backchannel_logout_supported"`
	BackchannelLogoutSession    bool     `json:"backchannel_logout_session_supported"`
	FrontchannelLogout          bool     `json:"frontchannel_logout_supported"`
	FrontchannelLogoutSession   bool     `json:"frontchannel_logout_session_supported"`
	RegistrationEndpoint        string   `json:"registration_endpoint,omitempty"`
	ClientDocuments             bool     `json:"client_id_metadata_document_supported,omitempty"`
	// MTLSAliases are the endpoints that ask for certificates (RFC 8705 section 5).
	MTLSAliases map[string]string `json:"mtls_endpoint_aliases,omitempty"`
}

// mtlsAliases returns the addresses of the endpoints for clients that show certificates,
// by the names of their members; nil when they are those of everybody.
func (s *Server) mtlsAliases() map[string]string {
	if s.o.MTLS == "" {
		return nil
	}
	aliases := map[string]string{}
	for name, path := range map[string]string{
		"token_endpoint": tokenPath, "revocation_endpoint": revokePath, "introspection_endpoint": introspectPath, "userinfo_endpoint": userinfoPath,
		"pushed_authorization_request_endpoint": parPath, "device_authorization_endpoint": devicePath,
	} {
		aliases[name] = s.o.MTLS + path
	}
	return aliases
}

// baseOf returns the URL below which the endpoint of a request was called: a proof that
// is made for an alias names the alias.
func (s *Server) baseOf(r *http.Request) string {
	if u, err := url.Parse(s.o.MTLS); err == nil && s.o.MTLS != "" && strings.EqualFold(u.Host, r.Host) {
		return s.o.MTLS
	}
	return s.base
}

func (s *Server) responseTypeNames() (names []string) {
	for _, t := range s.responseTypes() {
		names = append(names, t.String())
	}
	return names
}

func (s *Server) grantTypeNames() []string {
	names := slices.Clone(grantTypes)
	if s.o.Legacy.Implicit || s.o.Legacy.Hybrid {
		names = append(names, implicitGrantType)
	}
	if s.o.Backchannel.Person != nil {
		names = append(names, backchannelGrantType)
	}
	if s.o.Legacy.Password != nil {
		names = append(names, passwordGrantType)
	}
	return names
}

func (s *Server) metadata() any {
	algs := s.o.IDTokens.Algorithms()
	confidential, signing := []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"}, asymmetricNames()
	registration := ""
	if s.o.Registration {
		registration = s.base + registerPath
	}
	var backchannel string
	var modes []string
	var userCode *bool
	if s.o.Backchannel.Person != nil {
		backchannel, modes, userCode = s.base+backchannelPath, []string{"poll"}, new(bool)
	}
	return providerMetadata{
		BackchannelEndpoint: backchannel, BackchannelModes: modes, BackchannelUserCode: userCode,
		RegistrationEndpoint:        registration,
		ClientDocuments:             s.o.Documents != nil,
		Issuer:                      s.o.Issuer,
		AuthorizationEndpoint:       s.base + authPath,
		TokenEndpoint:               s.base + tokenPath,
		JWKSURI:                     s.base + jwksPath,
		UserinfoEndpoint:            s.base + userinfoPath,
		RevocationEndpoint:          s.base + revokePath,
		IntrospectionEndpoint:       s.base + introspectPath,
		EndSessionEndpoint:          s.base + logoutPath,
		ScopesSupported:             []string{"openid", "offline", "offline_access"},
		ResponseTypes:               s.responseTypeNames(),
		ResponseModes:               []string{"query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt"},
		AuthorizationResponseAlgs:   algs,
		PushEndpoint:                s.base + parPath,
		DeviceEndpoint:              s.base + devicePath,
		RequirePAR:                  s.o.PAR.Required,
		RequestObjectAlgs:           signing,
		RequestParameter:            true,
		GrantTypes:                  s.grantTypeNames(),
		DetailsTypes:                s.o.Details.Names(),
		SubjectTypes:                s.o.Subjects.Types,
		IDTokenAlgs:                 algs,
		UserinfoAlgs:                append([]string{"none"}, algs...),
		TokenAuthMethods:            append(slices.Clone(confidential), "none"),
		TokenAuthAlgs:               signing,
		RevocationAuthMethods:       append(slices.Clone(confidential), "none"),
		RevocationAuthAlgs:          signing,
		IntrospectionAuthMethods:    confidential,
		IntrospectionAuthAlgs:       signing,
		IntrospectionAlgs:           algs,
		CodeChallengeMethods:        []string{"S256"},
		DPoPAlgs:                    strings.Fields(s.proofs.Algorithms()),
		TLSBoundAccessTokens:        true,
		Prompts:                     prompts,
		Claims:                      []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"},
		AuthorizationResponseIssuer: true,
		BackchannelLogout:           true,
		BackchannelLogoutSession:    true,
		FrontchannelLogout:          true,
		FrontchannelLogoutSession:   true,
		MTLSAliases:                 s.mtlsAliases(),
	}
}
