package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// bar shows on a terminal how far something is; elsewhere, and in CI, it shows nothing.
type bar struct {
	out   io.Writer // nil: nobody watches
	began time.Time
	drawn time.Time
	width int // of the line that was drawn last
}

const (
	barWidth = 30
	// barEvery is how often the line is drawn again.
	barEvery = 100 * time.Millisecond
)

// newBar returns a bar on the terminal that out is; hidden: on none.
func newBar(out io.Writer, environ []string, hidden bool) *bar {
	b := &bar{began: time.Now()}
	file, isFile := out.(*os.File)
	if !isFile || hidden {
		return b
	}
	for _, variable := range environ {
		if name, value, _ := strings.Cut(variable, "="); name == "CI" && value != "" || name == "TERM" && value == "dumb" {
			return b
		}
	}
	if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		b.out = out
	}
	return b
}

// draw shows done of total, and what is being done. Done may exceed total.
func (b *bar) draw(what string, done, total int64) {
	now := time.Now()
	if b.out == nil || now.Sub(b.drawn) < barEvery {
		return
	}
	b.drawn = now
	line := barLine(what, done, total, now.Sub(b.began))
	fmt.Fprintf(b.out, "\r%s%s", line, strings.Repeat(" ", max(0, b.width-len(line))))
	b.width = len(line)
}

// barLine is one state of the bar: [=====>    ]  43%  1234/2870  3s  what
func barLine(what string, done, total int64, took time.Duration) string {
	total = max(total, done, 1)
	full := int(done * barWidth / total)
	shape := strings.Repeat("=", full)
	if full < barWidth {
		shape += ">" + strings.Repeat(" ", barWidth-full-1)
	}
	return fmt.Sprintf("[%s] %3d%%  %d/%d  %s  %s", shape, done*100/total, done, total, took.Round(time.Second), what)
}

// clear removes the line, so that what follows stands alone.
func (b *bar) clear() {
	if b.out != nil && b.width > 0 {
		fmt.Fprintf(b.out, "\r%s\r", strings.Repeat(" ", b.width))
		b.width = 0
	}
}
