package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/gatewarden/gatewarden/users"
)

// How one-time codes are made (RFC 6238). These are the defaults of the apps for it, of
// which some know nothing else.
const (
	otpPeriod = 30 // seconds
	otpSecret = 20 // bytes: as long as the hash (RFC 4226 section 4)
)

var (
	otpLetters = base32.StdEncoding.WithPadding(base32.NoPadding)
	otpOptions = totp.ValidateOpts{Period: otpPeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}

	// perCode is a limit for one account from anywhere. Only who has shown the first
	// factor gets so far, and a recovery code, which cannot be guessed, has its own.
	perCode = users.Pace{Interval: 5 * time.Minute, Burst: 10}
)

// newGenerator returns a generator with a random secret.
func newGenerator(now time.Time) users.Generator {
	secret := make([]byte, otpSecret)
	_, _ = rand.Read(secret) // never fails; crypto/rand ends the program instead
	return users.Generator{ID: rand.Text(), Secret: secret, CreatedAt: now.UTC().Truncate(time.Second)}
}

// codeStep returns the step of which typed is the code: of now, or one before or after,
// for clocks that differ and people who type slowly.
func codeStep(g *users.Generator, typed string, now time.Time) (step int64, found bool, err error) {
	typed = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, typed)
	current := now.Unix() / otpPeriod
	for _, s := range []int64{current - 1, current, current + 1} {
		code, err := totp.GenerateCodeCustom(otpLetters.EncodeToString(g.Secret), time.Unix(s*otpPeriod, 0), otpOptions)
		if err != nil {
			return 0, false, err
		}
		if subtle.ConstantTimeCompare([]byte(code), []byte(typed)) == 1 {
			step, found = s, true
		}
	}
	return step, found, nil
}

// errCode is the one answer to a code that is wrong and to one that was used.
var errCode = errors.New("the code is wrong or was used before")

// checkCode accepts a one-time code or a recovery code of a user, once on all nodes.
// Errors: errCode, *errSlow, and faults.
func (x *exchange) checkCode(u users.User, f users.Factors, typed string) error {
	recovery := users.RecoveryHash(u.ID, typed)
	kind := "code"
	if recovery != "" {
		kind = "recovery"
	}
	key := strings.Join([]string{kind, u.ID}, "\x00")
	wait, err := x.p.o.Attempts.TakeAttempt(x.ctx, key, perCode)
	if err != nil {
		return err
	}
	if wait > 0 {
		return &errSlow{wait}
	}
	if recovery != "" {
		err = x.p.o.Factors.UseRecoveryCode(x.ctx, u.ID, recovery)
	} else {
		err = x.useCode(u, f.Generator, typed)
	}
	if errors.Is(err, users.ErrUsed) {
		return errCode
	}
	if err != nil {
		return errors.Join(err, x.p.o.Attempts.ReturnAttempt(x.ctx, key, perCode)) // nothing was found out
	}
	if recovery != "" {
		x.p.o.Log.InfoContext(x.ctx, "a recovery code was used", "user", u.ID, "left", f.RecoveryCodes-1)
	}
	return x.p.o.Attempts.ReturnAttempt(x.ctx, key, perCode)
}

func (x *exchange) useCode(u users.User, g *users.Generator, typed string) error {
	if g == nil {
		return users.ErrUsed
	}
	step, found, err := codeStep(g, typed, x.p.o.Now())
	if err != nil {
		return err
	}
	if !found {
		return users.ErrUsed
	}
	return x.p.o.Factors.UseCode(x.ctx, u.ID, g.ID, step)
}

// enrolPage is what enrol.html shows: a new generator. Where is the path that its form
// is sent to, Challenge the login that goes on; empty on the account page.
type enrolPage struct {
	Where, Challenge, Ticket string
	Secret                   string
	Code                     qrCode
}

// enrolment is a generator that does not count yet. It is the ticket of the page.
type enrolment struct {
	Generator users.Generator `json:"g"`
	// Progress is the login that waits for it; nobody's on the account page.
	Progress progress `json:"p,omitzero"`
}

const (
	enrolTicket = "enrol"
	enrolFor    = 15 * time.Minute
)

// showEnrolment shows a generator, whose secret is in the ticket only: nothing is stored
// before a code was shown.
func (x *exchange) showEnrolment(status int, page enrolPage, about string, e enrolment, u users.User) error {
	var err error
	if page.Ticket, err = x.issueTicket(enrolTicket, about, e, enrolFor); err != nil {
		return err
	}
	page.Secret = spaced(otpLetters.EncodeToString(e.Generator.Secret))
	if page.Code, err = newQR(otpAddress(x.p.look.name, loginOf(u), e.Generator)); err != nil {
		return err
	}
	x.protect(page.Where, about)
	x.render(status, "enrol", page)
	return nil
}

// confirmEnrolment takes the first code of a new generator. Refused is true when the
// page is to be shown again. Codes are the person's recovery codes, for this one time.
func (x *exchange) confirmEnrolment(e enrolment, t ticket, u users.User) (codes []string, refused bool, err error) {
	step, found, err := codeStep(&e.Generator, x.form.Get("code"), x.p.o.Now())
	if err != nil {
		return nil, false, err
	}
	if !found {
		x.fault("code", "fault.code")
		return nil, true, nil
	}
	if err := x.useTicket(t); err != nil {
		return nil, false, err
	}
	codes, hashes := users.NewRecoveryCodes(u.ID)
	if err := x.p.o.Factors.EnrolGenerator(x.ctx, u.ID, e.Generator, step, hashes); err != nil {
		return nil, false, err
	}
	x.p.o.Log.InfoContext(x.ctx, "a generator of one-time codes was enrolled", "user", u.ID)
	return codes, false, nil
}

// otpAddress is what apps read from the picture (Key URI Format). A colon would end the
// label's name.
func otpAddress(place, login string, g users.Generator) string {
	place, login = strings.ReplaceAll(place, ":", " "), strings.ReplaceAll(login, ":", " ")
	q := url.Values{"secret": {otpLetters.EncodeToString(g.Secret)}, "issuer": {place}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {strconv.Itoa(otpPeriod)}}
	return "otpauth://totp/" + url.PathEscape(place+":"+login) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// spaced puts a secret into groups that people can type.
func spaced(secret string) string {
	var groups []string
	for ; len(secret) > 4; secret = secret[4:] {
		groups = append(groups, secret[:4])
	}
	return strings.Join(append(groups, secret), " ")
}

// qrCode is a picture for SVG: Size modules wide with its quiet zone, Path its dark ones.
// An image in the page itself needs no exception from the policy of the pages.
type qrCode struct {
	Size int
	Path template.HTMLAttr
}

// quiet is the margin that readers need, in modules (ISO/IEC 18004 section 5.3.8).
const quiet = 4

func newQR(text string) (qrCode, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return qrCode{}, err
	}
	size := code.Bounds().Dx()
	var path strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			if r, _, _, _ := code.At(x, y).RGBA(); r != 0 {
				continue
			}
			from := x
			for x+1 < size {
				if r, _, _, _ := code.At(x+1, y).RGBA(); r != 0 {
					break
				}
				x++
			}
			width := strconv.Itoa(x - from + 1)
			path.WriteString("M" + strconv.Itoa(from+quiet) + " " + strconv.Itoa(y+quiet) + "h" + width + "v1h-" + width + "z")
		}
	}
	//nolint:gosec // of digits and letters of our own
	return qrCode{Size: size + 2*quiet, Path: template.HTMLAttr(`d="` + path.String() + `"`)}, nil
}
