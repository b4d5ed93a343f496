package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Fingerprint identifies a list of strings: 16 hex digits, 64 bits, to tell a retry
// from a different body under one order_id. It is no protection against somebody who
// wants a collision; all they would get is the outcome of their own first order.
func Fingerprint(list ...string) string {
	b := make([]byte, 0, 256)
	for _, s := range list {
		// Each is preceded by its length, so that no two lists run together to the same bytes.
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	var text [16]byte
	hex.Encode(text[:], sum[:8])
	return string(text[:])
}
