package migrate

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// They are used this once, and so they are here and not among those of package streams.
var (
	scriptBegin    = load("begin")
	scriptFence    = load("fence")
	scriptRequests = load("requests")
	scriptFinish   = load("finish")
)

func load(name string) *redis.Script {
	source, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("migrate: %v", err)) // embedded: cannot happen in a binary that was built
	}
	return redis.NewScript(string(source))
}
