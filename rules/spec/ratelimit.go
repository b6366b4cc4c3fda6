package spec

import "strconv"

// rateLimits decodes the limits of a rule: a list, or one alone.
func (d *decoder) rateLimits(v *value, pointer string) {
	one := func(v *value, pointer string) {
		var l RateLimit
		d.fields(v, pointer, []field{
			{"key", d.string(&l.Key)},
			{"rate", d.integer(&l.Rate)},
			{"window", d.string(&l.Window)},
			{"burst", d.integer(&l.Burst)},
		})
		d.rule.RateLimits = append(d.rule.RateLimits, l)
	}
	if v.kind == object {
		one(v, pointer)
		return
	}
	if v.kind != list {
		d.mismatch(v, pointer, list)
		return
	}
	for i := range v.items {
		one(&v.items[i], pointer+"/"+strconv.Itoa(i))
	}
}
