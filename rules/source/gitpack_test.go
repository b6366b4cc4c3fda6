package source

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// packOf is a pack of objects, each with its type, the size that it says and its data.
type packed struct {
	kind byte
	size uint64
	back uint64 // of a delta (kind 6): how far before it its base begins
	data []byte
}

func packOf(count uint32, list ...packed) []byte {
	var out bytes.Buffer
	out.WriteString("PACK\x00\x00\x00\x02")
	_ = binary.Write(&out, binary.BigEndian, count)
	for _, o := range list {
		b := o.kind<<4 | byte(o.size&15)
		for rest := o.size >> 4; ; rest >>= 7 {
			if rest == 0 {
				out.WriteByte(b)
				break
			}
			out.WriteByte(b | 0x80)
			b = byte(rest & 0x7f)
		}
		if o.kind == 6 {
			digits := []byte{byte(o.back & 0x7f)}
			for rest := o.back >> 7; rest > 0; rest >>= 7 {
				rest--
				digits = append([]byte{0x80 | byte(rest&0x7f)}, digits...)
			}
			out.Write(digits)
		}
		z := zlib.NewWriter(&out)
		_, _ = z.Write(o.data)
		_ = z.Close()
	}
	sum := sha1.Sum(out.Bytes())
	out.Write(sum[:])
	return out.Bytes()
}

// delta makes a target that says it has size bytes from copies of 64 KiB of its base.
func delta(base, size uint64, copies int) []byte {
	d := binary.AppendUvarint(nil, base)
	d = binary.AppendUvarint(d, size)
	return append(d, bytes.Repeat([]byte{0x80}, copies)...) // offset 0, size 0 means 64 KiB
}

func TestAPackIsUnpackedWithinBounds(t *testing.T) {
	base := packed{kind: 3, size: 64 << 10, data: make([]byte, 64<<10)}
	first := uint64(len(packOf(1, base)) - 12 - sha1.Size) // the base begins so far before what follows it
	small, bomb := delta(64<<10, 128<<10, 2), delta(64<<10, 1<<40, 5000)
	lie := delta(64<<10, 128<<10, 5000)
	for name, c := range map[string]struct {
		pack []byte
		want string // part of the error; empty: none
	}{
		"a blob and a delta":                   {packOf(2, base, packed{6, uint64(len(small)), first, small}), ""},
		"a blob that says it is large":         {packOf(1, packed{kind: 3, size: 1 << 40, data: []byte("x")}), "larger than 256 MiB when it is unpacked"},
		"many that together are":               {packOf(2, base, packed{3, maxUnpacked - 1, 0, nil}), "larger than 256 MiB when it is unpacked"},
		"a delta that says it is large":        {packOf(2, base, packed{6, 1 << 40, first, small}), "larger than 256 MiB when it is unpacked"},
		"a delta that makes much of little":    {packOf(2, base, packed{6, uint64(len(bomb)), first, bomb}), "larger than 256 MiB when it is unpacked"},
		"a delta that makes more than it says": {packOf(2, base, packed{6, uint64(len(lie)), first, lie}), "what the server sent"},
		"a blob that is larger than it says":   {packOf(1, packed{3, 10, 0, make([]byte, 1<<20)}), "what the server sent"},
		"more objects than anybody needs":      {packOf(1 << 30), "more than 262144 objects"},
		"fewer objects than it says":           {packOf(2, base), "what the server sent"},
		"no pack":                              {[]byte("<html>"), "what the server sent"},
		"nothing":                              {nil, "what the server sent"},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := unpack(bytes.NewReader(c.pack))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{64 << 10, 128 << 10} {
				if o, err := store.EncodedObject(plumbing.BlobObject, plumbing.ComputeHash(plumbing.BlobObject, make([]byte, size))); err != nil || o.Size() != int64(size) {
					t.Errorf("the blob of %d bytes: %v", size, err)
				}
			}
		})
	}
	if _, err := unpack(bytes.NewReader(make([]byte, maxPack+1))); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("got %v", err)
	}
}

// FuzzUnpack: whatever a server sends, there is an error or objects within the bounds.
func FuzzUnpack(f *testing.F) {
	base := packed{kind: 3, size: 5, data: []byte("hello")}
	f.Add(packOf(1, base))
	f.Add(packOf(2, base, packed{6, 3, uint64(len(packOf(1, base)) - 32), []byte{5, 1, 'x'}}))
	f.Add([]byte("PACK"))
	f.Fuzz(func(t *testing.T, pack []byte) {
		store, err := unpack(bytes.NewReader(pack))
		if err != nil {
			return
		}
		left := int64(maxUnpacked)
		for _, o := range store.Objects {
			if left -= o.Size(); left < 0 {
				t.Fatalf("%d bytes too many", -left)
			}
		}
	})
}
