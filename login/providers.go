package login

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/users"
)

// Provider is an OpenID provider that people may log in with.
type Provider struct {
	// ID is part of the callback's address and of the page: letters, digits, - and _.
	ID string
	// Name is what people are told.
	Name   string
	Client *relyingparty.Client
	// Claims says which claim of the provider fills a member of a user: username, email,
	// email_verified, or a claim that users may have. What is missing has its own name,
	// and username is preferred_username.
	Claims map[string]string
	// Create lets an identity that is nobody's become a new user.
	Create bool
	// LinkVerifiedEmail gives an identity that is nobody's to the user whose address, which
	// is verified here too, the provider says it has verified. A provider that lies about
	// addresses, or gives them to others, takes over accounts.
	LinkVerifiedEmail bool
	// EmailDomains are those of verified addresses that an identity must have that is
	// nobody's; empty: any or none.
	EmailDomains []string
	// PassACR gives acr_values to the provider, and its acr and amr to clients.
	PassACR bool
	// TrustMFA believes the provider that says mfa in amr: its login is one with two
	// factors.
	TrustMFA bool
}

// callbackPath is where providers send browsers back to, followed by the id.
const callbackPath = "/login/callback/"

// CallbackPath is the path of a provider's callback below the issuer. Each has its own,
// so that the answer of one is not taken for another's (RFC 9700 section 4.4).
func CallbackPath(id string) string { return callbackPath + id }

// checkProviders names the provider that is wrong.
func checkProviders(providers []Provider) error {
	for i, p := range providers {
		switch {
		case !isProviderID(p.ID):
			return fmt.Errorf("login.providers: the id %q is not 1 to 64 letters, digits, - and _", p.ID)
		case p.Client == nil:
			return fmt.Errorf("login.providers: %s has no client", p.ID)
		case slices.ContainsFunc(providers[:i], func(other Provider) bool { return other.ID == p.ID }):
			return fmt.Errorf("login.providers: two have the id %s", p.ID)
		}
		for member := range p.Claims {
			if !slices.Contains(mapped(), member) {
				return fmt.Errorf("login.providers: %s: claims: users have no %q", p.ID, member)
			}
		}
	}
	return nil
}

func isProviderID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// mapped are the members of a user that claims of a provider fill.
func mapped() []string {
	return append([]string{"username", "email", "email_verified"}, users.ProfileClaims()...)
}

// claim returns the claim of the provider that fills a member.
func (p *Provider) claim(claims map[string]any, member string) any {
	name := p.Claims[member]
	switch {
	case name == "" && member == "username":
		name = "preferred_username"
	case name == "":
		name = member
	}
	return claims[name]
}

// text is claim for a text; empty when it is none.
func (p *Provider) text(claims map[string]any, member string) string {
	s, _ := p.claim(claims, member).(string)
	return strings.TrimSpace(s)
}

// email is the address that the provider has verified; empty: none.
func (p *Provider) email(claims map[string]any) string {
	if verified, _ := p.claim(claims, "email_verified").(bool); verified {
		return p.text(claims, "email")
	}
	return ""
}

// admits reports whether an address that the provider has verified is of a domain that
// may come in.
func (p *Provider) admits(email string) bool {
	if len(p.EmailDomains) == 0 {
		return true
	}
	at := strings.LastIndexByte(email, '@')
	return at > 0 && slices.ContainsFunc(p.EmailDomains, func(domain string) bool { return strings.EqualFold(domain, email[at+1:]) })
}

// provider returns the one with an id; nil: there is none.
func (p *Pages) provider(id string) *Provider {
	for i := range p.o.Providers {
		if p.o.Providers[i].ID == id {
			return &p.o.Providers[i]
		}
	}
	return nil
}

// issuers are those of the providers that there are.
func (p *Pages) issuers() (list []string) {
	for _, provider := range p.o.Providers {
		list = append(list, provider.Client.Issuer())
	}
	return list
}

// providerChoice is a provider as pages show it.
type providerChoice struct{ ID, Name string }

func (p *Pages) providerChoices() (list []providerChoice) {
	for _, provider := range p.o.Providers {
		list = append(list, providerChoice{provider.ID, provider.Name})
	}
	return list
}
