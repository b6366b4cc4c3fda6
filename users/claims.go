package users

import (
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// claimsOf are the standard claims that a scope stands for (OpenID Connect Core
// section 5.4), but for those that are members of User.
var claimsOf = map[string][]string{
	"profile": {"name", "family_name", "given_name", "middle_name", "nickname", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale"},
	"phone":   {"phone_number", "phone_number_verified"},
	"address": {"address"},
}

// ProfileClaims are the names of the standard claims that users may have as text.
func ProfileClaims() []string {
	return append(slices.Clone(claimsOf["profile"]), "phone_number")
}

// maxClaim is the longest text of a claim, in bytes.
const maxClaim = 1024

// Released returns the claims that the granted scopes stand for.
func (u User) Released(scopes []string) map[string]any {
	out := map[string]any{}
	for _, scope := range scopes {
		for _, name := range claimsOf[scope] {
			if v, found := u.Claims[name]; found {
				out[name] = v
			}
		}
		switch scope {
		case "profile":
			if u.Username != "" {
				out["preferred_username"] = u.Username
			}
			if !u.UpdatedAt.IsZero() {
				out["updated_at"] = u.UpdatedAt.Unix()
			}
		case "email":
			if u.Email != "" {
				out["email"], out["email_verified"] = u.Email, u.EmailVerified
			}
		}
	}
	return out
}

// IsClaim reports whether a user may have the claim.
func IsClaim(name string, value any) bool { return checkClaim(name, value) == "" }

// Check reports everything that is wrong with a user that is to be stored, as
// fault.Invalid with JSON pointers. The password is not looked at.
func (u User) Check() error {
	var faults []error
	fail := func(pointer, format string, args ...any) {
		faults = append(faults, &fault.Error{Kind: fault.Invalid, Reason: "invalid_user", Pointer: pointer, Message: fmt.Sprintf(format, args...)})
	}
	if u.ID == "" || len(u.ID) > 255 || strings.ContainsFunc(u.ID, func(r rune) bool { return r < ' ' || r > '~' }) {
		fail("/id", "must be 1 to 255 printable ASCII characters")
	}
	if u.Username == "" && u.Email == "" {
		fail("/username", "username or email is needed")
	}
	if _, err := u.Keys(); err != nil {
		faults = append(faults, err)
	}
	if u.Email != "" {
		if a, err := mail.ParseAddress(u.Email); err != nil || a.Address != u.Email {
			fail("/email", "is not an email address")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.Claims)) {
		if problem := checkClaim(name, u.Claims[name]); problem != "" {
			fail("/claims/"+name, "%s", problem)
		}
	}
	return errors.Join(faults...)
}

// checkClaim says what is wrong with a claim; empty: nothing.
func checkClaim(name string, value any) string {
	known := slices.ContainsFunc(slices.Collect(maps.Values(claimsOf)), func(names []string) bool { return slices.Contains(names, name) })
	switch v := value.(type) {
	case string:
		if known && name != "address" && name != "phone_number_verified" && len(v) <= maxClaim && strings.TrimSpace(v) != "" {
			return ""
		}
	case bool:
		if name == "phone_number_verified" {
			return ""
		}
	case map[string]any:
		for part, text := range v {
			if s, isText := text.(string); !isText || len(s) > maxClaim || !slices.Contains(addressParts, part) {
				return "must have the members of OpenID Connect Core section 5.1.1, as text"
			}
		}
		if name == "address" {
			return ""
		}
	}
	if !known {
		return "is not a standard claim that users may have (OpenID Connect Core section 5.1)"
	}
	return fmt.Sprintf("has the wrong type, is empty, or has more than %d bytes", maxClaim)
}

var addressParts = []string{"formatted", "street_address", "locality", "region", "postal_code", "country"}
