package spec

import "strconv"

// cors decodes the policy of a rule.
func (d *decoder) cors(v *value, pointer string) {
	c := &CORS{}
	d.rule.CORS = c
	on := true
	d.fields(v, pointer, []field{
		{"enabled", d.boolean(&on)},
		{"allowed_origins", d.strings(&c.AllowedOrigins)},
		{"allowed_methods", d.strings(&c.AllowedMethods)},
		{"allowed_headers", d.strings(&c.AllowedHeaders)},
		{"exposed_headers", d.strings(&c.ExposedHeaders)},
		{"allow_credentials", d.boolean(&c.AllowCredentials)},
		{"max_age", d.integer(&c.MaxAge)},
		{"options_passthrough", d.boolean(&c.OptionsPassthrough)},
	})
	c.Disabled = !on
}

// integer decodes a whole number.
func (d *decoder) integer(to *int) func(*value, string) {
	return func(v *value, pointer string) {
		n, err := strconv.ParseInt(v.text, 10, 32)
		if v.kind != number || err != nil {
			d.fault(pointer, v.line, "must be an integer of 32 bits")
			return
		}
		*to = int(n)
	}
}
