package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestABarSaysHowFarItIs(t *testing.T) {
	var got []string
	for _, at := range [][2]int64{{0, 0}, {0, 200}, {99, 200}, {200, 200}, {300, 200}} {
		got = append(got, barLine("gw_tokens", at[0], at[1], 2600*time.Millisecond))
	}
	want := []string{
		"[>                             ]   0%  0/1  3s  gw_tokens",
		"[>                             ]   0%  0/200  3s  gw_tokens",
		"[==============>               ]  49%  99/200  3s  gw_tokens",
		"[==============================] 100%  200/200  3s  gw_tokens",
		"[==============================] 100%  300/300  3s  gw_tokens",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestABarIsOnTerminalsOnly(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var buffer bytes.Buffer
	for _, b := range []*bar{newBar(&buffer, nil, false), newBar(file, nil, false), newBar(os.Stderr, []string{"CI=true"}, false), newBar(os.Stderr, nil, true)} {
		b.draw("x", 1, 2)
		b.clear()
	}
	if info, err := file.Stat(); err != nil || info.Size() != 0 || buffer.Len() != 0 {
		t.Errorf("a bar was drawn: %q", buffer.String())
	}
}
