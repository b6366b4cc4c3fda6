package templates

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// removed are the sprig functions that HermeticTxtFuncMap leaves in and that read
// the clock or the time zone, use randomness, or cost too much.
var removed = []string{
	"ago", "durationRound", "toDate", "mustToDate", "shuffle", "randInt",
	"bcrypt", "htpasswd", "derivePassword", "encryptAES", "decryptAES",
	"genPrivateKey", "buildCustomCert", "genCA", "genCAWithKey",
	"genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
	"hello",
}

// mutating are the functions that change an argument in place. A template that
// calls one gets copies.
var mutating = []string{"set", "unset", "merge", "mergeOverwrite", "mustMerge", "mustMergeOverwrite", "sortAlpha"}

// Functions that prepare puts into templates: emit ends every output action, and
// bound follows every call.
const (
	emit  = "_emit"
	bound = "_bound"
)

// marker starts a value, as opposed to text of the template, on its way to a sink
// that encodes. The byte occurs in no UTF-8 text, so no template can write it.
const marker = "\xff"

// functions returns the dialect's functions.
func functions(p place) template.FuncMap {
	m := sprig.HermeticTxtFuncMap()
	for _, name := range removed {
		delete(m, name)
	}
	m["print"] = toText
	m["printIndex"] = printIndex
	m["repeat"] = repeat
	m["replace"] = replace
	m["indent"] = indent
	m["nindent"] = func(n int, text string) (string, error) {
		out, err := indent(n, text)
		return "\n" + out, err
	}
	m["until"] = func(n int) ([]int, error) { return count(0, n, sign(n)) }
	m["untilStep"] = count
	m["seq"] = seq
	m[bound] = bounded
	m[emit] = toText
	if p != plainText {
		m[emit] = func(v any) string { return marker + toText(v) }
	}
	return m
}

// toText is what print and a bare action show: nothing for nil, and whole numbers
// that JSON decoding made a float64 in full rather than as 1e+06.
func toText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return fmt.Sprint(v)
}

// bounded passes v on unless it is larger than maxValue. Without it a loop could
// double a variable until memory is used up, and set could put a map into itself,
// which nothing can print.
func bounded(v any) (any, error) {
	if budget := maxValue; !weigh(reflect.ValueOf(v), &budget) {
		return nil, errTooLarge
	}
	return v, nil
}

// weigh takes the size of v off budget, and returns false when it is used up.
func weigh(v reflect.Value, budget *int) bool {
	*budget--
	switch v.Kind() {
	case reflect.String:
		*budget -= v.Len()
	case reflect.Interface:
		return weigh(v.Elem(), budget)
	case reflect.Slice:
		for i := 0; i < v.Len() && *budget >= 0; i++ {
			weigh(v.Index(i), budget)
		}
	case reflect.Map:
		for it := v.MapRange(); *budget >= 0 && it.Next(); {
			weigh(it.Key(), budget)
			weigh(it.Value(), budget)
		}
	}
	return *budget >= 0
}

// printIndex is the element of a list, or nothing when there is none.
func printIndex(list any, i int) string {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice || i < 0 || i >= v.Len() {
		return ""
	}
	return toText(v.Index(i).Interface())
}

func repeat(n int, text string) (string, error) {
	if n <= 0 {
		return "", nil
	}
	if len(text) > MaxOutput/n {
		return "", errTooLarge
	}
	return strings.Repeat(text, n), nil
}

func replace(old, with, text string) (string, error) {
	if strings.Count(text, old)*len(with) > maxValue {
		return "", errTooLarge
	}
	return strings.ReplaceAll(text, old, with), nil
}

func indent(n int, text string) (string, error) {
	if n < 0 || n > maxList {
		return "", fmt.Errorf("indent of %d", n)
	}
	if lines := 1 + strings.Count(text, "\n"); n*lines > MaxOutput {
		return "", errTooLarge
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad), nil
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// count lists from start up (or down) to but not including stop.
func count(start, stop, step int) ([]int, error) {
	var list []int
	if step == 0 || (step > 0) != (stop > start) {
		return list, nil
	}
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		if len(list) == maxList {
			return nil, fmt.Errorf("list of more than %d numbers", maxList)
		}
		list = append(list, i)
	}
	return list, nil
}

// seq lists numbers as seq(1) does, with spaces between: last; first last; or
// first step last.
func seq(params ...int) (string, error) {
	var step, last int
	first := 1
	switch len(params) {
	case 1:
		last = params[0]
		step = sign(last - first)
	case 2:
		first, last = params[0], params[1]
		step = sign(last - first)
	case 3:
		first, step, last = params[0], params[1], params[2]
	default:
		return "", nil
	}
	list, err := count(first, last+sign(step), step)
	if err != nil {
		return "", err
	}
	return strings.Trim(fmt.Sprint(list), "[]"), nil
}
