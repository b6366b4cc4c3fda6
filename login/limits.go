package login

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/users"
)

// The limits on wrong passwords. They are counted before a password is looked at, so
// that parallel guesses count, and given back for a right one. They are in the
// database: all nodes share them, and they outlive a restart.
//
// Nobody can lock a stranger out: what is counted per account alone does not hold for a
// browser in which that account has logged in before (a device cookie, as OWASP
// describes), which has a limit of its own.
var (
	perClient  = users.Pace{Interval: 30 * time.Second, Burst: 30} // whatever accounts it tries
	perPair    = users.Pace{Interval: time.Minute, Burst: 10}      // one account from one client
	perDevice  = users.Pace{Interval: time.Minute, Burst: 10}      // one account in a browser that it knows
	perAccount = users.Pace{Interval: 30 * time.Second, Burst: 100}
)

const (
	deviceCookie = "gatewarden_device"
	deviceAge    = 365 * 24 * 3600 // seconds
)

// counted is an attempt that was counted under some keys.
type counted struct {
	x    *exchange
	keys []string
	pace []users.Pace
}

// attempt counts an attempt at the account that a login stands for, which may be
// nobody's. Wait is positive when there were too many.
func (x *exchange) attempt(account string) (c counted, wait time.Duration, err error) {
	c = counted{x: x}
	client := network(x.p.o.Client(x.r))
	take := func(pace users.Pace, parts ...string) {
		if err != nil || wait > 0 {
			return
		}
		key := strings.Join(parts, "\x00")
		if wait, err = x.p.o.Attempts.TakeAttempt(x.ctx, key, pace); err == nil && wait == 0 {
			c.keys, c.pace = append(c.keys, key), append(c.pace, pace)
		}
	}
	take(perClient, "client", client)
	if device := x.device(account); device != "" {
		take(perDevice, "device", device, account)
	} else {
		take(perPair, "pair", client, account)
		take(perAccount, "account", account)
	}
	return c, wait, err
}

// succeeded gives the attempt back.
func (c counted) succeeded() error {
	for i, key := range c.keys {
		if err := c.x.p.o.Attempts.ReturnAttempt(c.x.ctx, key, c.pace[i]); err != nil {
			return err
		}
	}
	return nil
}

// device returns the id of the browser if the account has logged in with it before.
func (x *exchange) device(account string) string {
	id, mac, _ := strings.Cut(x.cookie(deviceCookie), ".")
	if id != "" && x.p.signing.signed(mac, "device", id, account) {
		return id
	}
	return ""
}

// rememberDevice lets the browser be known to the account.
func (x *exchange) rememberDevice(account string) {
	if x.device(account) == "" {
		id := rand.Text()
		x.setCookie(deviceCookie, id+"."+x.p.signing.sign("device", id, account), deviceAge)
	}
}

// network is what one client has of the address space: all of an IPv4 address, 64 bits
// of an IPv6 one.
func network(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		if prefix, err := a.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return a.String()
}
