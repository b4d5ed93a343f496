package webhooks

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"holdfast/domain"
)

// secretPrefix is how secrets begin, as the Standard Webhooks specification has it.
const secretPrefix = "whsec_"

// secretBytes is how long they are.
const secretBytes = 32

// NewSecret makes a secret.
func NewSecret() []byte {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// SecretText is a secret as a receiver is told it.
func SecretText(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// NewID names an endpoint. It is nobody else's, and never was.
func NewID() string { return "wh_" + strings.ToLower(rand.Text()[:16]) }

// sign is a signature of a message.
func sign(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// messageID is the same for every try of a message, and for a replay of it. Entries of two partitions, or of two branches, can have the
// same id, so it is made of more.
func messageID(endpoint string, partition int, m domain.WebhookMessage) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%d|%s|%s|%s", endpoint, partition, m.Fact, m.Type, m.Ref))
	return "msg_" + hex.EncodeToString(sum[:16])
}
