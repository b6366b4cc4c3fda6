package errorhandlers

import (
	"mime"
	"strconv"
	"strings"
)

// mediaRange is one element of an Accept field (RFC 9110 section 12.5.1): a lower
// case type/subtype, type/* or */*, and its weight, 0 to 1.
type mediaRange struct {
	name   string
	weight float64
}

// mediaRanges returns the media ranges of a field without parameters and without
// malformed ones. A weight that is no number counts as none was given.
func mediaRanges(values []string) []mediaRange {
	var ranges []mediaRange
	for _, value := range values {
		for _, part := range strings.Split(value, ",") {
			name, params, err := mime.ParseMediaType(part)
			if err != nil || !strings.Contains(name, "/") {
				continue
			}
			weight := 1.0
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
				weight = 0
				if q > 0 { // not so for NaN
					weight = min(q, 1)
				}
			}
			ranges = append(ranges, mediaRange{name, weight})
		}
	}
	return ranges
}

// weight returns how much the client wants a media type: the weight of the most
// specific range that covers it, 0 for none.
func weight(ranges []mediaRange, name string) float64 {
	major, _, _ := strings.Cut(name, "/")
	for _, cover := range []string{name, major + "/*", "*/*"} {
		for _, r := range ranges {
			if r.name == cover {
				return r.weight
			}
		}
	}
	return 0
}

// named reports whether the client named the media type itself and wants it.
func named(ranges []mediaRange, name string) bool {
	for _, r := range ranges {
		if r.name == name {
			return r.weight > 0
		}
	}
	return false
}

// wantsHTML reports whether an Accept field is one of a client that can show a page; a
// client without the field may be one.
func wantsHTML(values []string) bool {
	if strings.Join(values, "") == "" {
		return true
	}
	ranges := mediaRanges(values)
	return weight(ranges, "text/html") > 0 || weight(ranges, "application/xhtml+xml") > 0
}

// anyRange reports whether one of asked, unless its weight is 0, is covered by one
// of configured. Wildcards count in configured only.
func anyRange(asked []mediaRange, configured []string) bool {
	for _, a := range asked {
		if a.weight == 0 {
			continue
		}
		for _, m := range configured {
			major, anySub := strings.CutSuffix(m, "/*")
			if a.name == m || m == "*/*" || anySub && strings.HasPrefix(a.name, major+"/") {
				return true
			}
		}
	}
	return false
}
