package restore

import (
	"embed"

	"holdfast/streams/internal/bulk"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// They are used this once, and so they are here and not among those of package streams.
var (
	scriptBegin  = bulk.Script(scriptFiles, "begin")
	scriptTake   = bulk.Script(scriptFiles, "take")
	scriptServe  = bulk.Script(scriptFiles, "serve")
	scriptFinish = bulk.Script(scriptFiles, "finish")
)
