package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A server that ends waits for what goes on beside its requests; whoever comes after that is told so by the context.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		ended, late := false, false
		b.goes(func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second) // of the bubble
			ended = true
		})
		b.after(time.Hour, func(context.Context) { late = true })
		b.stop()
		if !ended || late {
			t.Errorf("ended %v, began what was to come later %v", ended, late)
		}
		told := make(chan error)
		b.goes(func(ctx context.Context) { told <- ctx.Err() })
		if <-told == nil {
			t.Error("what comes after the end is not told so")
		}
	})
}
