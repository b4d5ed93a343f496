package streams

import (
	"context"
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua scripts/lib/*.lua
var scriptFiles embed.FS

// One script per operation; those that share reading and writing share a file of
// scripts/lib, which comes first.
var (
	scriptInit           = load("init")
	scriptSetNamespace   = load("set_namespace")
	scriptPinGateway     = load("pin_gateway")
	scriptHold           = load("hold", "log", "orders", "seats")
	scriptMove           = load("move", "log", "orders", "sums", "seats")
	scriptBeginBranch    = load("begin_branch", "log")
	scriptAdvanceArchive = load("advance_archive")
	scriptTrimLog        = load("trim_log")
	scriptDue            = load("due", "log")
	scriptPutOff         = load("put_off")
	scriptCreateEvent    = load("create_event", "log")
	scriptAdjustEvent    = load("adjust_event", "log", "seats")
	scriptChangeEvent    = load("change_event", "log")
	scriptDeadLetter     = load("dead_letter", "letters", "notes")
	scriptRedrive        = load("redrive", "notes", "owed", "handled")
	scriptDiscard        = load("discard", "notes", "handled")
	scriptOwe            = load("owe", "owed")
	scriptTakeOwed       = load("take_owed")
	scriptSettleOwed     = load("settle_owed", "owed")
	scriptOwn            = load("own")
	scriptKeepAlive      = load("keep_alive", "pending")
	scriptHandBack       = load("hand_back", "pending")
	scriptClaim          = load("claim", "pending")
	scriptLeave          = load("leave")
	scriptTrim           = load("trim")
	scriptForget         = load("forget", "log")
	scriptForgetEvent    = load("forget_event", "log")
	scriptForgetOrders   = load("forget_orders")
	scriptRecallOrders   = load("recall_orders", "log")
	scriptRecallEvent    = load("recall_event", "log")
	scriptReplaced       = load("replaced")
	scriptInvoice        = load("invoice")
	scriptReport         = load("report")
	scriptSignIn         = load("sign_in")
	scriptPause          = load("pause")
	scriptResume         = load("resume")
	scriptPark           = load("park")
	scriptUnpark         = load("unpark")
	scriptChangeWebhook  = load("change_webhook")
	scriptCopyWebhook    = load("copy_webhook")
	scriptTakeWebhook    = load("take_webhook")
	scriptSettleWebhook  = load("settle_webhook")
)

var scriptNames map[string]string

// ScriptName is the name of the script with a digest, as SLOWLOG, MONITOR and
// hooks show it in EVALSHA; empty if it is none of ours.
func ScriptName(digest string) string { return scriptNames[digest] }

func load(name string, libs ...string) *redis.Script {
	source := ""
	for _, lib := range libs {
		source += read("scripts/lib/" + lib + ".lua")
	}
	script := redis.NewScript(source + read("scripts/"+name+".lua"))
	if scriptNames == nil {
		scriptNames = make(map[string]string)
	}
	scriptNames[script.Hash()] = name
	return script
}

func read(path string) string {
	b, err := scriptFiles.ReadFile(path)
	if err != nil {
		panic(fmt.Sprintf("streams: %v", err)) // embedded: cannot happen in a binary that was built
	}
	return string(b)
}

// run calls a script by its digest and sends its text only where it is not known
// (yet, or again: a restart or a failover forgets scripts).
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	return script.Run(ctx, s.rdb, keys, args...)
}
