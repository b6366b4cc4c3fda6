package users

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gatewarden/gatewarden/strictjson"
)

// maxImported is the most that one user of an import may have, in bytes.
const maxImported = 64 << 10

// Import reads users as a JSON list, or as JSON objects one after the other (NDJSON),
// and gives them to each with the line where they begin. Members are those of User;
// unknown and repeated ones are errors. It stops at the first error of its own, which
// names the line, or of each.
func Import(r io.Reader, each func(line int, u User) error) error {
	lines := &lineCounter{r: r}
	d := json.NewDecoder(lines)
	list := false
	for first := true; ; first = false {
		if list && !d.More() {
			if _, err := d.Token(); err != nil {
				return lines.fault(d.InputOffset(), err)
			}
			list = false
			continue
		}
		if first {
			if begins, err := lines.peek(); err != nil && !errors.Is(err, io.EOF) {
				return err
			} else if list = begins == '['; list {
				if _, err := d.Token(); err != nil {
					return lines.fault(d.InputOffset(), err)
				}
				continue
			}
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			var syntax *json.SyntaxError
			at := d.InputOffset()
			if errors.As(err, &syntax) && syntax.Offset > at {
				at = syntax.Offset
			}
			return lines.fault(at, err)
		}
		line := lines.line(d.InputOffset() - int64(len(raw)))
		u, err := parse(raw)
		if err == nil {
			err = each(line, u)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// parse reads one user, strictly.
func parse(raw json.RawMessage) (u User, err error) {
	if len(raw) > maxImported {
		return u, fmt.Errorf("a user has at most %d bytes", maxImported)
	}
	if raw[0] != '{' {
		return u, errors.New("a user must be a JSON object")
	}
	if err := strictjson.Unmarshal(raw, &u); err != nil {
		return User{}, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return u, nil
}

// lineCounter remembers where lines end in what was read.
type lineCounter struct {
	r     io.Reader
	head  []byte // read ahead by peek
	read  int64
	ends  []int64 // offsets of line breaks that no call of line has passed yet
	below int     // line breaks that were passed
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := 0, error(nil)
	if len(l.head) > 0 {
		n = copy(p, l.head)
		l.head = l.head[n:]
	} else {
		n, err = l.r.Read(p)
	}
	for i, b := range p[:n] {
		if b == '\n' {
			l.ends = append(l.ends, l.read+int64(i))
		}
	}
	l.read += int64(n)
	return n, err
}

// peek returns the first byte that is not white space; call it before anything is read.
func (l *lineCounter) peek() (byte, error) {
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(l.r, one); err != nil {
			return 0, err
		}
		l.head = append(l.head, one[0])
		if !bytes.ContainsAny(one, " \t\r\n") {
			return one[0], nil
		}
	}
}

// line returns the line of an offset; offsets must not fall from call to call.
func (l *lineCounter) line(offset int64) int {
	for len(l.ends) > 0 && l.ends[0] < offset {
		l.ends, l.below = l.ends[1:], l.below+1
	}
	return l.below + 1
}

func (l *lineCounter) fault(offset int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, err = l.read, errors.New("the text ends too early")
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		err = errors.New("not JSON: " + syntax.Error())
	}
	return fmt.Errorf("line %d: %w", l.line(offset), err)
}
