// Package randx draws random strings for fosite.
package randx

import (
	"crypto/rand"
	"errors"
	"math/big"
)

// AlphaUpper is the alphabet A to Z.
const AlphaUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// RuneSequence draws l runes uniformly from allowed.
func RuneSequence(l int, allowed []rune) ([]rune, error) {
	if len(allowed) == 0 {
		return nil, errors.New("randx: no runes to draw from")
	}
	n := big.NewInt(int64(len(allowed)))
	seq := make([]rune, l)
	for i := range seq {
		k, err := rand.Int(rand.Reader, n)
		if err != nil {
			return nil, err
		}
		seq[i] = allowed[k.Int64()]
	}
	return seq, nil
}
