package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// fingerprint collects a list of strings to hash. Each is preceded by its
// length, so that no two lists run together to the same bytes.
type fingerprint []byte

func (f *fingerprint) add(s string) {
	*f = binary.AppendUvarint(*f, uint64(len(s)))
	*f = append(*f, s...)
}

// String is 16 hex digits: 64 bits, to tell a retry from a different body under
// one order_id. It is no protection against somebody who wants a collision; all
// they would get is the outcome of their own first order.
func (f fingerprint) String() string {
	sum := sha256.Sum256(f)
	return hex.EncodeToString(sum[:8])
}
