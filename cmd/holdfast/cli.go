package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9/logging"
	"golang.org/x/term"

	"holdfast/domain"
	"holdfast/streams"
)

const description = `
holdfast sells tickets: checkouts publish purchase requests to Redis Streams, workers hold the inventory,
authorize the payment and confirm the order, and every confirmed order is posted to invoices and sales exactly once.

Try it, with a Redis on this machine:

  holdfast events create jazz-night --name "Jazz Night" --currency EUR --section general=200@10.00
  holdfast worker &
  HOLDFAST_TOKEN=tok_1 holdfast publish --event jazz-night --customer fred --quantity 2 --wait
  holdfast sales

With -o json every command writes JSON with stable field names, one object a line, errors on stderr too; amounts are in
minor units (cents), times in milliseconds since 1970.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 outcome not known: run the same again to learn it, nothing happens twice.
`

// commandLine is everything that can be said on the command line.
type commandLine struct {
	Redis     string           `group:"everywhere" env:"HOLDFAST_REDIS" placeholder:"URL" help:"Where Redis is: redis://[user:password@]host:port/db, rediss://…, or unix:///path. Default: redis://127.0.0.1:6379/0."`
	Namespace string           `group:"everywhere" env:"HOLDFAST_NAMESPACE" default:"holdfast" placeholder:"NAME" help:"Prefix of every key, so that several can share a Redis. Default: holdfast."`
	Output    string           `group:"everywhere" short:"o" env:"HOLDFAST_OUTPUT" enum:"table,json" default:"table" placeholder:"FORMAT" help:"table, for people, or json, for programs. Default: table."`
	Version   kong.VersionFlag `group:"everywhere" help:"Print the version and exit."`

	Demo    demoCommand    `cmd:"" group:"run" help:"Show what holdfast does, in a few seconds; without --redis on an embedded Redis."`
	Init    initCommand    `cmd:"" group:"run" help:"Create the namespace in Redis. Optional: the first command that needs it creates it."`
	Worker  workerCommand  `cmd:"" group:"run" help:"Work on requests until told to stop. Start as many as you like."`
	Gateway gatewayCommand `cmd:"" group:"run" help:"Serve a simulated payment gateway over HTTP."`

	Events   eventsCommand   `cmd:"" group:"sell" help:"What is on sale: create, show, list, adjust, close, reopen or cancel events."`
	Publish  publishCommand  `cmd:"" group:"sell" help:"Publish requests: buy tickets, hold them, pay for them, cancel."`
	Orders   ordersCommand   `cmd:"" group:"sell" help:"Show, list or cancel orders."`
	Invoices invoicesCommand `cmd:"" group:"sell" help:"List what a customer has bought."`
	Sales    salesCommand    `cmd:"" group:"sell" help:"Tickets sold and revenue, by event."`

	Pending    pendingCommand `cmd:"" group:"operate" help:"What waits, who has it, and for how long."`
	Dead       deadCommand    `cmd:"" group:"operate" help:"Entries that were set aside: list, show, redrive or discard them."`
	Audit      auditCommand   `cmd:"" group:"operate" help:"Check every order, ticket and payment against the log."`
	VersionCmd versionCommand `cmd:"" group:"operate" name:"version" help:"Tell the version of this program."`

	HelpCmd    helpCommand       `cmd:"" group:"operate" name:"help" help:"Show the help of a command."`
	Completion completionCommand `cmd:"" group:"operate" help:"Print a script with which bash, zsh or fish completes command lines."`
}

var helpGroups = kong.ExplicitGroups([]kong.Group{
	{Key: "everywhere", Title: "Flags of every command:"},
	{Key: "run", Title: "Run it:"},
	{Key: "sell", Title: "Sell with it:"},
	{Key: "operate", Title: "Look after it:"},
})

// environment is what a command works with, besides its own flags.
type environment struct {
	redis     string // as given; empty if nobody said
	namespace string
	json      bool
	stdin     io.Reader
	stdout    io.Writer
	stderr    io.Writer
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// go-redis would write to stderr on every vain attempt to connect; its errors say the same.
	logging.Disable()
	var cli commandLine
	e := &environment{json: asksForJSON(args), stdin: stdin, stdout: stdout, stderr: stderr}
	answered := false // by --help or --version
	parser, err := kong.New(&cli,
		kong.Name("holdfast"), kong.Description(description), helpGroups,
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(helpOf),
		workerDefaults(), kong.Vars{"version": readVersion().String()},
		kong.Writers(stdout, stderr), kong.Exit(func(int) { answered = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil { // commandLine itself is wrong: no command line can be read
		e.complain(err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if answered {
		return exitDone
	}
	if err != nil {
		var parseError *kong.ParseError
		if errors.As(err, &parseError) {
			parsed = parseError.Context
		}
		err = &usageError{withoutToken(err, parsed)}
	} else {
		e.redis, e.namespace, e.json = cli.Redis, cli.Namespace, cli.Output == "json"
		err = parsed.Run(e)
	}
	if answered { // by help
		return exitDone
	}
	status := statusOf(err)
	var ended *endedError
	switch {
	case err == nil, errors.As(err, &ended) && ended.err == nil:
	case status == exitUsage:
		e.complain(fmt.Errorf("%w (see %s --help)", err, commandPath(parsed)))
	case ctx.Err() != nil && errors.Is(err, context.Canceled) && domain.CodeOf(err) != domain.CodeUnknownOutcome:
		e.complain(errInterrupted)
	default:
		e.complain(err)
	}
	return status
}

// asksForJSON reports whether a command line that cannot be read asks for JSON all the same.
func asksForJSON(args []string) bool {
	format := os.Getenv("HOLDFAST_OUTPUT")
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if value, found := strings.CutPrefix(arg, "--output="); found {
			format = value
		} else if value, found := strings.CutPrefix(arg, "-o"); found && value != "" {
			format = strings.TrimPrefix(value, "=")
		} else if (arg == "-o" || arg == "--output") && i+1 < len(args) {
			format = args[i+1]
		}
	}
	return format == "json"
}

// helpOf is the help of a flag, with its environment variable if it has one.
func helpOf(value *kong.Value) string {
	if len(value.Tag.Envs) == 0 {
		return value.Help
	}
	return value.Help + " [$" + value.Tag.Envs[0] + "]"
}

func commandPath(parsed *kong.Context) string {
	if parsed == nil || parsed.Selected() == nil {
		return "holdfast"
	}
	return parsed.Selected().FullPath()
}

// withoutToken takes care that a payment token on the command line is not
// repeated in a message about it.
func withoutToken(err error, parsed *kong.Context) error {
	if commandPath(parsed) != "holdfast publish" {
		return err
	}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "--token"):
		return errors.New("--token: want a value; one that begins with - is written --token=VALUE")
	case strings.HasPrefix(text, "unexpected argument"):
		return errors.New("unexpected argument: everything goes behind a flag, and a value with spaces between quotes")
	}
	return err
}

func (e *environment) url() string {
	if e.redis == "" {
		return streams.DefaultURL
	}
	return e.redis
}

// checkConnection finds mistakes in the global flags before anything is tried.
func (e *environment) checkConnection() error {
	if !domain.ValidID(e.namespace) {
		return badUsage("--namespace: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	rdb, err := streams.Dial(e.url(), 0) // sends nothing
	if err != nil {
		return badUsage("--redis: %w", err)
	}
	if err := rdb.Close(); err != nil {
		return fmt.Errorf("closing an unused connection: %w", err)
	}
	return nil
}

// open opens the store; the error says what to do.
func (e *environment) open(ctx context.Context, o streams.Options) (*streams.Store, error) {
	if err := e.checkConnection(); err != nil {
		return nil, err
	}
	o.Namespace = e.namespace
	store, err := streams.Open(ctx, e.url(), o)
	if err == nil {
		return store, nil
	}
	if text := err.Error(); strings.Contains(text, "NOAUTH") || strings.Contains(text, "WRONGPASS") {
		return nil, fmt.Errorf("redis at %s: %w: say who you are in its URL, redis://user:password@host:port/db", redactURL(e.url()), err)
	}
	if domain.ClassOf(err) != domain.ClassRetry || ctx.Err() != nil {
		return nil, fmt.Errorf("redis at %s: %w", redactURL(e.url()), err)
	}
	return nil, &noRedisError{url: e.url(), err: err}
}

// noRedisError: it may come up yet.
type noRedisError struct {
	url string
	err error
}

func (e *noRedisError) Error() string {
	cause := e.err
	var network *net.OpError
	if errors.As(e.err, &network) {
		cause = network
	}
	return fmt.Sprintf("redis at %s does not answer (%v): start one, or name another with --redis", redactURL(e.url), cause)
}

func (e *noRedisError) Unwrap() error { return e.err }

// withStore runs do with a store that is closed afterwards.
func (e *environment) withStore(ctx context.Context, do func(*streams.Store) error) error {
	store, err := e.open(ctx, streams.Options{})
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// redactURL is a URL without its password, fit to be printed.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a malformed URL)"
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
