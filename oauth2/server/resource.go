package server

import (
	"net/url"
	"slices"
)

// resources takes the parameters resource (RFC 8707) of a request: absolute URIs
// without fragment, that the client is registered for as audience. They are audience by
// another name.
func resources(form url.Values, c *client) ([]string, error) {
	var all []string
	for _, one := range form["resource"] {
		u, err := url.Parse(one)
		if err != nil || !u.IsAbs() || u.Fragment != "" {
			return nil, invalidTarget.WithHint("The parameter 'resource' must be an absolute URI without fragment.")
		}
		if !slices.Contains(c.Audience, one) {
			return nil, invalidTarget.WithHint("The client may not have the resource.")
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all, nil
}

// narrow restricts what a code buys to the resources that are asked for at the token
// endpoint (RFC 8707 section 2.2). The refresh token keeps all that was granted.
func narrow(u *unit, asked []string) error {
	if u.grantType != "authorization_code" && u.grantType != deviceGrantType && u.grantType != backchannelGrantType || len(asked) == 0 {
		return nil
	}
	audience, err := narrowed(asked, u.spend.Grant.GrantedAudience)
	if err != nil {
		return invalidTarget.WithHint(err.Error())
	}
	u.audience = audience
	return nil
}

// audienceFor returns the audience of an access token that has granted.
func (u *unit) audienceFor(granted []string) []string {
	if u.audience != nil {
		return u.audience
	}
	return granted
}
