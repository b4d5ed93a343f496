package console

import (
	"os"
	"strings"
	"testing"

	"holdfast/domain"
)

// Whoever adds a webhook is offered every message that there is.
func TestWebhookTypesAreOffered(t *testing.T) {
	page, err := os.ReadFile("src/pages/Keys.svelte")
	if err != nil {
		t.Fatal(err)
	}
	for _, fact := range domain.WebhookTypes {
		if name := domain.WebhookType(fact); !strings.Contains(string(page), "'"+name+"'") {
			t.Errorf("%s is not", name)
		}
	}
}
