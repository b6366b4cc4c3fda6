package templates

import (
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
)

// prepare checks and instruments the parsed trees of t, and returns the functions
// that they call.
//
// Checked: every field that is read off the root exists, so that a misspelt field
// is found at load and not by a request. Instrumented: every function call is
// followed by bound, every output action ends in emit, and every body starts with a
// write of nothing, which lets the sink count loop rounds and calls.
func prepare(t *template.Template) (map[string]bool, error) {
	w := walker{called: map[string]bool{}}
	for _, each := range t.Templates() {
		// Only the main template is certain to run with the session as its root.
		w.main = each.Name() == t.Name()
		if err := w.list(each.Root, w.main); err != nil {
			return nil, err
		}
		tick(each.Root)
	}
	return w.called, nil
}

func tick(l *parse.ListNode) {
	l.Nodes = append([]parse.Node{&parse.TextNode{NodeType: parse.NodeText}}, l.Nodes...)
}

type walker struct {
	main   bool
	called map[string]bool
}

// list walks nodes; root says that dot is the session.
func (w *walker) list(l *parse.ListNode, root bool) error {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		if err := w.node(n, root); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) node(n parse.Node, root bool) error {
	switch n := n.(type) {
	case *parse.ActionNode:
		if err := w.pipe(n.Pipe, root); err != nil {
			return err
		}
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, call(emit, n.Pos))
		}
	case *parse.IfNode:
		return w.branch(&n.BranchNode, root, root)
	case *parse.WithNode:
		return w.branch(&n.BranchNode, root, false)
	case *parse.RangeNode:
		if err := w.branch(&n.BranchNode, root, false); err != nil {
			return err
		}
		tick(n.List)
	case *parse.TemplateNode:
		return w.pipe(n.Pipe, root)
	}
	return nil
}

func (w *walker) branch(b *parse.BranchNode, root, inner bool) error {
	if err := w.pipe(b.Pipe, root); err != nil {
		return err
	}
	if err := w.list(b.List, inner); err != nil {
		return err
	}
	return w.list(b.ElseList, root)
}

func (w *walker) pipe(p *parse.PipeNode, root bool) error {
	if p == nil {
		return nil
	}
	var cmds []*parse.CommandNode
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			if err := w.arg(arg, root); err != nil {
				return err
			}
		}
		cmds = append(cmds, c)
		if _, isCall := c.Args[0].(*parse.IdentifierNode); isCall {
			cmds = append(cmds, call(bound, c.Pos))
		}
	}
	p.Cmds = cmds
	return nil
}

// call is a command that calls a function with the value so far.
func call(name string, pos parse.Pos) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{parse.NewIdentifier(name).SetPos(pos)}}
}

func (w *walker) arg(n parse.Node, root bool) error {
	switch n := n.(type) {
	case *parse.IdentifierNode:
		w.called[n.Ident] = true
	case *parse.FieldNode:
		if root {
			return checkPath(n.Ident)
		}
	case *parse.VariableNode:
		if w.main && n.Ident[0] == "$" {
			return checkPath(n.Ident[1:])
		}
	case *parse.ChainNode:
		return w.arg(n.Node, root)
	case *parse.PipeNode:
		return w.pipe(n, root)
	}
	return nil
}

// checkPath follows path from the session as text/template does, as far as types
// tell.
func checkPath(path []string) error {
	t := sessionType
	for i, name := range path {
		if t.Kind() == reflect.Interface {
			return nil
		}
		next, ok := member(t, name)
		if !ok {
			return fmt.Errorf("there is no .%s", strings.Join(path[:i+1], "."))
		}
		t = next
	}
	return nil
}

func member(t reflect.Type, name string) (reflect.Type, bool) {
	receiver := t
	if t.Kind() != reflect.Pointer {
		receiver = reflect.PointerTo(t)
	}
	if m, ok := receiver.MethodByName(name); ok && m.Type.NumOut() > 0 {
		return m.Type.Out(0), true
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		if f, ok := t.FieldByName(name); ok && f.IsExported() {
			return f.Type, true
		}
	case reflect.Map:
		return t.Elem(), true
	}
	return nil, false
}
