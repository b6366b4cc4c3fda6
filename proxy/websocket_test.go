package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frame returns a WebSocket frame as a server sends it.
func frame(size int) []byte {
	b := []byte{0x82}
	switch {
	case size < 126:
		b = append(b, byte(size))
	case size < 1<<16:
		b = append(b, 126, byte(size>>8), byte(size))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
	}
	return append(b, bytes.Repeat([]byte{0x88}, size)...)
}

func TestACloseFrameStandsBehindAWholeFrameOrNotAtAll(t *testing.T) {
	closing := append([]byte{0x88, 6, 0x03, 0xf0}, "over"...)
	for _, size := range []int{0, 1, 125, 126, 1000, 70000} {
		whole := frame(size)
		for _, c := range []struct {
			name         string
			before, then []byte // written before the end is asked for, and after
			want         []byte
		}{
			{"between frames", whole, nil, append(bytes.Clone(whole), closing...)},
			{"within a frame that goes on", whole[:1], append(bytes.Clone(whole[1:]), whole...), append(bytes.Clone(whole), closing...)},
			{"within a frame that does not", whole[:1], nil, whole[:1]},
		} {
			client, server := net.Pipe()
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(client)
				got <- b
			}()
			ws := &webSocket{Conn: server, border: make(chan struct{}, 1)}
			if _, err := ws.Write(c.before); err != nil {
				t.Fatal(err)
			}
			ended := make(chan bool)
			go func() {
				ws.end(policyViolation, "over")
				close(ended)
			}()
			if c.then != nil {
				for ws.isEnding() == false {
				}
				if n, err := ws.Write(c.then); err == nil || n >= len(c.then) {
					t.Errorf("%s: what follows the frame was written too: %d, %v", c.name, n, err)
				}
			}
			<-ended
			if diff := cmp.Diff(c.want, <-got); diff != "" {
				t.Errorf("%d bytes, %s (-want +got): %s", size, c.name, diff)
			}
			client.Close()
		}
	}
}

func (c *webSocket) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

func FuzzFramesEndWhereTheyEndHoweverTheyArrive(f *testing.F) {
	f.Add(uint16(0), uint16(200), uint8(1))
	f.Add(uint16(126), uint16(65535), uint8(7))
	f.Fuzz(func(t *testing.T, first, second uint16, piece uint8) {
		all := append(frame(int(first)), frame(int(second))...)
		var whole, parts frames
		whole.follow(all)
		for rest := all; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			parts.follow(rest[:n])
			rest = rest[n:]
		}
		if !whole.atBorder() || !parts.atBorder() {
			t.Errorf("%d and %d bytes in pieces of %d: no end was seen", first, second, piece)
		}
		var one frames
		if n := one.rest(all); n != len(frame(int(first))) {
			t.Errorf("the first frame has %d bytes, want %d", n, len(frame(int(first))))
		}
		one = frames{}
		one.follow(all[:len(all)-1])
		if one.atBorder() {
			t.Error("a frame that is not whole ended")
		}
	})
}
