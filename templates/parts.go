package templates

import (
	"slices"
	"text/template/parse"

	"github.com/gatewarden/gatewarden/access"
)

// part is one piece of a simple template: text, or a look-up. Look-ups are data
// and not closures, so that a request's input stays on its caller's stack.
type part struct {
	what  what
	text  string   // the literal, or the name of the header field
	keys  []string // path below .Extra
	index int64    // of the capture group
}

// what a part shows.
type what uint8

const (
	literal what = iota
	subject
	extra
	method
	urlPath
	urlHost
	urlScheme
	urlQuery
	capture
	header
)

// show returns false for what only the general form can render, or fail, exactly.
func (p *part) show(in *access.Input) (string, bool) {
	switch p.what {
	case literal:
		return p.text, true
	case subject:
		return in.Subject.ID, true
	case extra:
		last := len(p.keys) - 1
		m := in.Subject.Extra
		for _, key := range p.keys[:last] {
			next, ok := m[key].(map[string]any)
			if !ok {
				return "", false
			}
			m = next
		}
		return toText(m[p.keys[last]]), true
	case capture:
		if p.index < 0 || p.index >= int64(len(in.Captures)) {
			return "", true
		}
		return in.Captures[p.index], true
	}
	if in.Request == nil {
		return "", false
	}
	switch p.what {
	case method:
		return in.Request.Method, true
	case header:
		return in.Request.Header.Get(p.text), true
	}
	u := in.Request.URL
	if u == nil {
		return "", false
	}
	switch p.what {
	case urlPath:
		return u.Path, true
	case urlHost:
		return u.Host, true
	case urlScheme:
		return u.Scheme, true
	case urlQuery:
		return u.RawQuery, true
	}
	return "", false
}

// parts returns the pieces of a template that has nothing but text and simple
// look-ups. They must show the same text as the general form.
func parts(root *parse.ListNode) ([]part, bool) {
	var list []part
	for _, n := range root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			list = append(list, part{what: literal, text: string(n.Text)})
		case *parse.ActionNode:
			p, ok := pipePart(n.Pipe)
			if !ok {
				return nil, false
			}
			list = append(list, p)
		default:
			return nil, false
		}
	}
	return list, true
}

func pipePart(p *parse.PipeNode) (part, bool) {
	if len(p.Decl) > 0 || len(p.Cmds) == 0 || len(p.Cmds) > 2 {
		return part{}, false
	}
	if len(p.Cmds) == 2 { // x | print
		if args := p.Cmds[1].Args; len(args) != 1 || !isFunc(args[0], "print") {
			return part{}, false
		}
	}
	args := p.Cmds[0].Args
	switch {
	case len(args) == 2 && isFunc(args[0], "print"):
		return argPart(args[1])
	case len(args) == 3 && isFunc(args[0], "printIndex"):
		i, ok := args[2].(*parse.NumberNode)
		if ok && i.IsInt && isField(args[1], "MatchContext", "RegexpCaptureGroups") {
			return part{what: capture, index: i.Int64}, true
		}
	case len(args) == 2:
		name, ok := args[1].(*parse.StringNode)
		if ok && isField(args[0], "MatchContext", "Header", "Get") {
			return part{what: header, text: name.Text}, true
		}
	case len(args) == 1:
		return argPart(args[0])
	}
	return part{}, false
}

func argPart(n parse.Node) (part, bool) {
	switch n := n.(type) {
	case *parse.PipeNode:
		return pipePart(n)
	case *parse.FieldNode:
		return fieldPart(n.Ident)
	}
	return part{}, false
}

func fieldPart(path []string) (part, bool) {
	if path[0] == "Extra" && len(path) > 1 {
		return part{what: extra, keys: path[1:]}, true
	}
	for _, f := range []struct {
		what what
		path []string
	}{
		{subject, []string{"Subject"}},
		{method, []string{"MatchContext", "Method"}},
		{urlPath, []string{"MatchContext", "URL", "Path"}},
		{urlHost, []string{"MatchContext", "URL", "Host"}},
		{urlScheme, []string{"MatchContext", "URL", "Scheme"}},
		{urlQuery, []string{"MatchContext", "URL", "RawQuery"}},
	} {
		if slices.Equal(path, f.path) {
			return part{what: f.what}, true
		}
	}
	return part{}, false
}

func isFunc(n parse.Node, name string) bool {
	id, ok := n.(*parse.IdentifierNode)
	return ok && id.Ident == name
}

func isField(n parse.Node, path ...string) bool {
	f, ok := n.(*parse.FieldNode)
	return ok && slices.Equal(f.Ident, path)
}
