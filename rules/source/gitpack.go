package source

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	objects "github.com/go-git/go-git/v5/storage/memory"
)

// Bounds of what a git server sends for one commit. A pack of some kilobytes may stand
// for gigabytes.
const (
	maxPack     = 64 << 20  // bytes, as they are sent
	maxUnpacked = 256 << 20 // bytes of all objects, and of all deltas
	maxObjects  = 1 << 18
)

// unpack returns the objects of a pack. Nothing is unpacked before what the pack says of
// its sizes is within the bounds.
func unpack(received io.Reader) (*objects.Storage, error) {
	pack, err := io.ReadAll(io.LimitReader(received, maxPack+1))
	if err != nil {
		return nil, fmt.Errorf("what the server sent: %w", err)
	}
	if len(pack) > maxPack {
		return nil, fmt.Errorf("the commit is larger than %d MiB", maxPack>>20)
	}
	if err := announced(pack); err != nil {
		return nil, fmt.Errorf("what the server sent: %w", err)
	}
	store := objects.NewStorage()
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(bytes.NewReader(pack)), store)
	if err == nil {
		_, err = parser.Parse()
	}
	if err != nil {
		return nil, fmt.Errorf("what the server sent: %w", err)
	}
	return store, nil
}

// announced adds up the sizes that the headers of objects say, and those that deltas say
// of what they make. The parser takes no more from either.
func announced(pack []byte) error {
	s := packfile.NewScanner(bytes.NewReader(pack))
	_, n, err := s.Header()
	if err != nil {
		return err
	}
	if n > maxObjects {
		return fmt.Errorf("the commit has more than %d objects", maxObjects)
	}
	left := uint64(maxUnpacked)
	take := func(size uint64) error {
		if size > left {
			return fmt.Errorf("the commit is larger than %d MiB when it is unpacked", maxUnpacked>>20)
		}
		left -= size
		return nil
	}
	for range n {
		h, err := s.NextObjectHeader()
		if err != nil {
			return err
		}
		if err := take(uint64(h.Length)); err != nil { // a negative one is very large
			return err
		}
		var begin head
		if _, _, err := s.NextObject(&begin); err != nil {
			return err
		}
		if !h.Type.IsDelta() {
			continue
		}
		_, base := binary.Uvarint(begin)
		if base <= 0 {
			return packfile.ErrInvalidDelta
		}
		makes, length := binary.Uvarint(begin[base:])
		if length <= 0 {
			return packfile.ErrInvalidDelta
		}
		if err := take(makes); err != nil {
			return err
		}
	}
	return nil
}

// head keeps the beginning of what is written to it, enough for two sizes.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 2*binary.MaxVarintLen64-len(*h))]...)
	return len(p), nil
}
