package remote

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"holdfast/domain"
)

// maxTokenLength bounds a bearer token: with more, gateways refuse the request for its header.
const maxTokenLength = 4096

// bearer is the token that tells the gateway who asks. Its zero value is none.
type bearer struct {
	file string // where it is read from, again and again; empty: it never changes

	mu    sync.Mutex
	token domain.Secret
}

// read reads the token from its file.
func (b *bearer) read() error {
	text, err := os.ReadFile(b.file)
	if err != nil {
		return fmt.Errorf("gateway token: %w", err)
	}
	token := domain.Secret(strings.TrimSpace(string(text)))
	if err := checkToken(token); err != nil {
		return err
	}
	b.token = token
	return nil
}

// current is the token to send; empty for none.
func (b *bearer) current() domain.Secret {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token
}

// renewed reports whether there is another token than the one that was refused: somebody
// has put a new one into the file. An error says that it cannot be read; the old one stays.
func (b *bearer) renewed(refused domain.Secret) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == "" || b.token != refused {
		return b.token != refused, nil
	}
	err := b.read()
	return b.token != refused, err
}

// checkToken returns an error, which does not quote it, if it would not do in a header.
func checkToken(token domain.Secret) error {
	if token == "" || len(token) > maxTokenLength {
		return fmt.Errorf("gateway token: want 1 to %d characters", maxTokenLength)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("gateway token: want visible ASCII characters and no spaces")
		}
	}
	return nil
}
