package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// page is the part of a list that was asked for: limit and offset (v1), or
// page_size and page_token (v2).
type page struct {
	limit, offset int
	tokens        bool // answer with page tokens
	total         int  // how long the list is; negative: not known
}

// of returns p of a list whose length is known.
func (p page) of(total int) page {
	p.total = total
	return p
}

const maxOffset = 1 << 30

func (x *exchange) page(standard, most int) (page, error) {
	q := x.r.URL.Query()
	p := page{limit: standard, total: -1, tokens: q.Has("page_size") || q.Has("page_token")}
	size, err := "limit", error(nil)
	if p.tokens {
		size = "page_size"
		if p.offset, err = x.openToken(q.Get("page_token")); err != nil {
			return p, err
		}
	} else {
		p.tokens = strings.HasPrefix(x.r.URL.Path, "/admin/") && !q.Has("limit") && !q.Has("offset")
		if p.offset, err = number(q, "offset", 0, maxOffset); err != nil {
			return p, err
		}
	}
	p.limit, err = number(q, size, standard, most)
	if p.limit == 0 {
		p.limit = standard
	}
	return p, err
}

// number reads a query parameter of 0 to most; more counts as most.
func number(q url.Values, name string, standard, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fault.New(fault.Invalid, "invalid_request", fmt.Sprintf("the query parameter %s must be a number of 0 to %d", name, most))
	}
	return min(int(n), most), nil
}

// links sets the Link header (RFC 8288) of a list, and X-Total-Count where its length is
// known. More says that there is a next page.
func (x *exchange) links(p page, more bool) {
	var links []string
	add := func(rel string, offset int) {
		q := x.r.URL.Query()
		for _, name := range []string{"limit", "offset", "page_size", "page_token"} {
			q.Del(name)
		}
		if p.tokens {
			q.Set("page_size", strconv.Itoa(p.limit))
			if offset > 0 {
				q.Set("page_token", x.sealToken(offset))
			}
		} else {
			q.Set("limit", strconv.Itoa(p.limit))
			q.Set("offset", strconv.Itoa(offset))
		}
		links = append(links, fmt.Sprintf(`<%s?%s>; rel="%s"`, x.r.URL.EscapedPath(), q.Encode(), rel))
	}
	add("first", 0)
	if p.offset > 0 && !p.tokens {
		add("prev", max(0, p.offset-p.limit))
	}
	if more {
		add("next", p.offset+p.limit)
	}
	if p.total >= 0 {
		x.w.Header().Set("X-Total-Count", strconv.Itoa(p.total))
		if last := max(0, p.total-1) / p.limit * p.limit; !p.tokens {
			add("last", last)
		}
	}
	x.w.Header().Set("Link", strings.Join(links, ","))
}

// A page token is the offset and a MAC over it and the path.
const macSize = 16

func (x *exchange) tokenMAC(offset []byte) []byte {
	mac := hmac.New(sha256.New, x.api.PageKey)
	mac.Write(offset)
	mac.Write([]byte(strings.TrimPrefix(x.r.URL.Path, "/admin")))
	return mac.Sum(nil)[:macSize]
}

func (x *exchange) sealToken(offset int) string {
	text := binary.BigEndian.AppendUint32(nil, uint32(offset))
	return base64.RawURLEncoding.EncodeToString(append(text, x.tokenMAC(text)...))
}

func (x *exchange) openToken(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(text) != 4+macSize || !hmac.Equal(text[4:], x.tokenMAC(text[:4])) {
		return 0, fault.New(fault.Invalid, "invalid_page_token", "the page token is not one of this list")
	}
	return int(binary.BigEndian.Uint32(text)), nil
}
