package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
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
  holdfast worker --gateway simulator &
  HOLDFAST_TOKEN=tok_1 holdfast publish --event jazz-night --customer fred --quantity 2 --wait
  holdfast sales

With -o json every command writes JSON with stable field names, one object a line, errors on stderr too; amounts are in
minor units (cents), times in milliseconds since 1970.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 outcome not known: run the same again to learn it, nothing happens twice.
Those of holdfast check and doctor are a monitor's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`

// commandLine is everything that can be said on the command line.
type commandLine struct {
	Redis     string           `group:"everywhere" env:"HOLDFAST_REDIS" placeholder:"URL" help:"Where Redis is: redis://[user:password@]host:port/db, rediss://… with TLS, or unix:///path. Default: redis://127.0.0.1:6379/0."`
	RedisCA   string           `group:"everywhere" env:"HOLDFAST_REDIS_CA" name:"redis-ca" placeholder:"FILE" help:"PEM certificates of the authorities that sign those of Redis, with rediss://. Default: those of the system."`
	RedisCert string           `group:"everywhere" env:"HOLDFAST_REDIS_CERT" placeholder:"FILE" help:"PEM certificate to show to Redis, with rediss://. Read anew for each connection."`
	RedisKey  string           `group:"everywhere" env:"HOLDFAST_REDIS_KEY" placeholder:"FILE" help:"Its PEM key."`
	Namespace string           `group:"everywhere" env:"HOLDFAST_NAMESPACE" default:"holdfast" placeholder:"NAME" help:"Prefix of every key, so that several can share a Redis. Default: holdfast."`
	Output    string           `group:"everywhere" short:"o" env:"HOLDFAST_OUTPUT" enum:"table,json" default:"table" placeholder:"FORMAT" help:"table, for people, or json, for programs. Default: table."`
	Version   kong.VersionFlag `group:"everywhere" help:"Print the version and exit."`

	Demo    demoCommand    `cmd:"" group:"run" help:"Show what holdfast does, in a few seconds; without --redis on an embedded Redis."`
	Dev     devCommand     `cmd:"" group:"run" help:"Everything there is, on a Redis of its own, until Ctrl-C: to try things out."`
	Init    initCommand    `cmd:"" group:"run" help:"Make the namespace in Redis. Optional: on an empty one, worker and events create make it."`
	Worker  workerCommand  `cmd:"" group:"run" help:"Work on requests until told to stop. Start as many as you like."`
	API     apiCommand     `cmd:"" group:"run" name:"api" help:"Serve holdfast over HTTP: for checkouts, customers, sales, organisers and SREs."`
	Gateway gatewayCommand `cmd:"" group:"run" help:"Serve a simulated payment gateway over HTTP."`

	Events   eventsCommand   `cmd:"" group:"sell" help:"What is on sale: create, show, list, adjust, close, reopen or cancel events."`
	Publish  publishCommand  `cmd:"" group:"sell" help:"Publish requests: buy tickets, hold them, pay for them, cancel."`
	Orders   ordersCommand   `cmd:"" group:"sell" help:"Show, list or cancel orders."`
	Invoices invoicesCommand `cmd:"" group:"sell" help:"List what customers have bought."`
	Sales    salesCommand    `cmd:"" group:"sell" help:"Tickets sold and revenue, by event."`

	Namespaces namespaceCommand `cmd:"" group:"operate" name:"namespace" help:"What the namespace was made with: show it, or set what may change."`
	Pending    pendingCommand   `cmd:"" group:"operate" help:"Is all well, what waits, who has it, and for how long."`
	Check      checkCommand     `cmd:"" group:"operate" help:"Is all well? One line, and an exit status for cron and monitors."`
	Workers    workersCommand   `cmd:"" group:"operate" help:"Who works: what they do, since when, and how fast."`
	Top        topCommand       `cmd:"" group:"operate" help:"A live view: orders a second, what waits, hottest events, workers."`
	Pause      pauseCommand     `cmd:"" group:"operate" help:"Have workers take no more requests: none at all, or none of an event."`
	Resume     resumeCommand    `cmd:"" group:"operate" help:"Have them take requests again."`
	Doctor     doctorCommand    `cmd:"" group:"operate" help:"How Redis and the namespace are set up, what will be wrong later, and what to type."`
	Dead       deadCommand      `cmd:"" group:"operate" help:"Entries that were set aside: list, show, redrive or discard them."`
	Audit      auditCommand     `cmd:"" group:"operate" help:"Check every order, ticket and payment against the log."`
	Archive    archiveCommand   `cmd:"" group:"operate" help:"The log on durable storage: list what there is, verify or export it."`
	Restore    restoreCommand   `cmd:"" group:"operate" help:"Bring a namespace back from its archive, into an empty Redis; or what a failover lost of it."`
	Recall     recallCommand    `cmd:"" group:"operate" help:"Bring an event back from the archive that was over, and forgotten, with its orders: for late refunds."`
	Migrate    migrateCommand   `cmd:"" group:"operate" help:"Take a namespace of an older program to the schema of this one, once."`
	Keys       keysCommand      `cmd:"" group:"operate" help:"Who may use holdfast over HTTP: make, list and revoke API keys."`
	Webhooks   webhooksCommand  `cmd:"" group:"operate" help:"Endpoints of others that are told of orders: add them, look how they do, send again."`
	VersionCmd versionCommand   `cmd:"" group:"operate" name:"version" help:"Tell the version of this program."`

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
	tls       tlsFiles
	namespace string
	json      bool
	stdin     io.Reader
	stdout    io.Writer
	stderr    io.Writer
	opened    *streams.Store // by whoever runs the command, and closes it; nil: the command opens one
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// go-redis would write to stderr on every vain attempt to connect; its errors say the same.
	logging.Disable()
	var cli commandLine
	e := &environment{json: said(args, "HOLDFAST_OUTPUT", "--output", "-o") == "json", stdin: stdin, stdout: stdout, stderr: stderr}
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
		err = &usageError{inOurWords(withoutToken(err, parsed))}
	} else {
		e.redis, e.tls, e.namespace, e.json = cli.Redis, tlsFiles{"--redis", cli.RedisCA, cli.RedisCert, cli.RedisKey}, cli.Namespace, cli.Output == "json"
		err = parsed.Run(e)
	}
	if answered { // by help
		return exitDone
	}
	err = withoutURLs(err, args)
	status := statusOf(err)
	worker, complain := isWorker(parsed, args), e.complain
	if worker {
		complain = func(err error) { e.logFailure(args, err) }
	}
	var ended *endedError
	switch {
	case err == nil, errors.As(err, &ended) && ended.err == nil:
	case status == exitUsage:
		complain(fmt.Errorf("%w (see %s --help)", err, commandPath(parsed)))
		if path := commandPath(parsed); path == "holdfast check" || path == "holdfast doctor" {
			status = int(levelUnknown) // 2 is critical, to monitors
		}
	case !worker && ctx.Err() != nil && errors.Is(err, context.Canceled) && domain.CodeOf(err) != domain.CodeUnknownOutcome:
		e.complain(errInterrupted)
	default:
		complain(err)
	}
	return status
}

// said is the value of a flag (--long or -s) on a command line that may be one that cannot be
// read, or else in the environment. Of several the last counts; it is empty if there is none.
func said(args []string, variable string, names ...string) string {
	value := os.Getenv(variable)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		for _, name := range names {
			behind, found := strings.CutPrefix(arg, name)
			switch short := !strings.HasPrefix(name, "--"); {
			case !found:
			case behind == "" && i+1 < len(args):
				value = args[i+1]
			case strings.HasPrefix(behind, "=") || short && behind != "":
				value = strings.TrimPrefix(behind, "=")
			}
		}
	}
	return value
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

// withoutToken takes care that a payment token or an access code on the command line is not
// repeated in a message about it.
func withoutToken(err error, parsed *kong.Context) error {
	if commandPath(parsed) != "holdfast publish" {
		return err
	}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "--token"):
		return errors.New("--token: want a value; one that begins with - is written --token=VALUE")
	case strings.HasPrefix(text, "--access-code"):
		return errors.New("--access-code: want a value; one that begins with - is written --access-code=VALUE")
	case strings.HasPrefix(text, "unexpected argument"):
		return errors.New("unexpected argument: everything goes behind a flag, and a value with spaces between quotes")
	}
	return err
}

// dashed is what kong says of a value that looks like a flag.
var dashed = regexp.MustCompile(`^(--[a-z-]+): expected .* but got "-`)

// inOurWords is an error of kong, for people.
func inOurWords(err error) error {
	text := err.Error()
	if found := dashed.FindStringSubmatch(text); found != nil {
		return fmt.Errorf("%[1]s: want a value; one that begins with - is written %[1]s=VALUE", found[1])
	}
	if flag, choices, found := strings.Cut(text, " must be one of "); found {
		// Where "" is a choice it is that of leaving the flag out.
		choices, got, _ := strings.Cut(choices, " but got ")
		given := slices.DeleteFunc(strings.Split(choices, ","), func(choice string) bool { return choice == `""` })
		return fmt.Errorf("%s must be one of %s but got %s", flag, strings.Join(given, ", "), got)
	}
	return err
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
