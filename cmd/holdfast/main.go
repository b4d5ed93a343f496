// Command holdfast is the whole of holdfast in one program: workers, a simulated
// payment gateway, and the tools of those who run them. See holdfast --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the container image has no files, and TZ shall count there
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals // the first asks for an orderly end
		cancel()
		<-signals // the second does not wait for it; a crash loses nothing
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
