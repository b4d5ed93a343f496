package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/payments/stripe"
	"holdfast/streams"
	"holdfast/telemetry"
	"holdfast/workers"
)

const simulatorGateway = "simulator"

type workerCommand struct {
	Gateway       string        `env:"HOLDFAST_GATEWAY" placeholder:"URL|stripe|simulator" help:"The payment gateway: its http(s) URL; or stripe; or simulator, which approves inside this process and moves no money. Needed for the roles purchase and settlement; all workers of a namespace have the same kind."`
	Roles         []string      `env:"HOLDFAST_ROLES" enum:"purchase,posting,settlement,maintenance,archive,webhooks" default:"purchase,posting,settlement,maintenance" placeholder:"ROLE" help:"What this worker does; all workers together must do all of: purchase, posting, settlement, maintenance, and, with an archive, archive; with webhooks, webhooks. Default: all but the last two."`
	Archive       string        `env:"HOLDFAST_ARCHIVE" placeholder:"URL" help:"Where the log is archived: file:///folder or s3://bucket/prefix?region=…. A worker archives if it does all else, or if --roles names archive. Where anything is archived of a namespace, no worker makes it anew when nothing is left of it in Redis: it waits until it is restored. Default: nowhere."`
	KeepLog       time.Duration `env:"HOLDFAST_KEEP_LOG" placeholder:"DURATION" help:"Trim the log in Redis: of what is archived, part of a snapshot of the archive, posted and settled, only so much stays, 1m at least. Then what is older is answered by --archive alone: read about it in docs/operations.md first. Default: the whole log stays."`
	KeepLogBytes  int64         `env:"HOLDFAST_KEEP_LOG_BYTES" default:"100000000" placeholder:"BYTES" help:"With --keep-log: nor does more of it stay than this, in each partition. Default: ${default}."`
	ArchiveEvery  time.Duration `env:"HOLDFAST_ARCHIVE_EVERY" default:"${worker_archive_every}" placeholder:"DURATION" help:"How long a fact waits at most until it is archived. Default: ${default}."`
	SnapshotEvery time.Duration `env:"HOLDFAST_SNAPSHOT_EVERY" default:"1h" placeholder:"DURATION" help:"With --archive: how old the newest snapshot of the archive may be, if something was archived since; with it restores and audits begin, and the log is trimmed no further. 0: no snapshot is taken by a worker. Default: 1h."`
	HoldTime      time.Duration `env:"HOLDFAST_HOLD_TIME" default:"${worker_hold_time}" placeholder:"DURATION" help:"How long tickets are held for an order whose request does not say. Default: ${default}."`
	MaxHold       time.Duration `env:"HOLDFAST_MAX_HOLD" default:"${worker_max_hold}" placeholder:"DURATION" help:"The longest hold that a request may ask for. Default: ${default}."`
	ValidTime     time.Duration `env:"HOLDFAST_VALID_TIME" default:"${worker_valid_time}" placeholder:"DURATION" help:"How long a request may wait in line, if it does not say; after that it is rejected as too_late. Default: ${default}."`
	ReclaimAfter  time.Duration `env:"HOLDFAST_RECLAIM_AFTER" default:"${worker_reclaim_after}" placeholder:"DURATION" help:"How long a worker may give no sign of life before others take over its work. Default: ${default}."`
	Grace         time.Duration `env:"HOLDFAST_GRACE" default:"${worker_grace}" placeholder:"DURATION" help:"How long to finish what is in hand after SIGTERM or Ctrl-C; the rest is handed back. Default: ${default}."`
	Name          string        `env:"HOLDFAST_NAME" placeholder:"NAME" help:"Name of this worker, of which there must be no other. Default: host name, process id and a random part."`
	Concurrency   int           `env:"HOLDFAST_CONCURRENCY" default:"${worker_concurrency}" placeholder:"N" help:"How many calls of the gateway may be under way at once, for each role and partition. Default: ${default}."`
	PayWait       time.Duration `env:"HOLDFAST_PAY_WAIT" default:"0s" placeholder:"DURATION" help:"How long a pay request waits for a hold that has not come yet. Default: four times --reclaim-after."`
	MaxDeliveries int64         `env:"HOLDFAST_MAX_DELIVERIES" default:"${worker_max_deliveries}" placeholder:"N" help:"After how many deliveries in vain an entry goes to the dead letters. Default: ${default}."`
	CallTimeout   time.Duration `env:"HOLDFAST_CALL_TIMEOUT" default:"${worker_call_timeout}" placeholder:"DURATION" help:"How long one call of the payment gateway may take. Default: ${default}."`
	KeepEvent     time.Duration `env:"HOLDFAST_KEEP_EVENT" default:"720h" placeholder:"DURATION" help:"With --archive: for how long an event stays in Redis that was closed, or called off, and all of whose orders have ended, once that is posted, settled and archived; then it is in the archive alone. 0: for ever. Default: 720h (30 days)."`
	ForgetAfter   time.Duration `env:"HOLDFAST_FORGET_AFTER" default:"${worker_forget_after}" placeholder:"DURATION" help:"For how long a rejection for an unknown event is remembered, from when its request would not be valid any more. Default: ${default}."`
	WaitRedis     time.Duration `env:"HOLDFAST_WAIT_REDIS" default:"30s" placeholder:"DURATION" help:"How long to wait at the start for a Redis that does not answer. Default: 30s."`
	Listen        string        `env:"HOLDFAST_LISTEN" placeholder:"HOST:PORT" help:"Where to serve /metrics, /livez, /readyz and /backlog over HTTP; port 0 takes a free one. Default: nowhere."`
	Pprof         bool          `env:"HOLDFAST_PPROF" help:"Serve Go's profiles there, too, under /debug/pprof/."`
	LogFormat     string        `env:"HOLDFAST_LOG_FORMAT" enum:"json,console" default:"json" placeholder:"FORMAT" help:"json or console. The log goes to stderr. Default: json."`
	LogLevel      string        `env:"HOLDFAST_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default: info."`

	As gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
	codeKeyFlags

	Stripe    stripeFlags    `embed:"" group:"Stripe, with --gateway stripe:"`
	Simulator simulatorFlags `embed:"" prefix:"simulator-" envprefix:"HOLDFAST_SIMULATOR_" group:"The simulated gateway, with --gateway simulator:"`
}

// workerDefaults are those of the pool, for the flags that say them.
func workerDefaults() kong.Vars {
	d := workers.Config{}.WithDefaults()
	return kong.Vars{
		"worker_hold_time":      short(d.HoldTime),
		"worker_max_hold":       short(d.MaxHold),
		"worker_valid_time":     short(d.ValidTime),
		"worker_reclaim_after":  short(d.ReclaimAfter),
		"worker_grace":          short(d.Grace),
		"worker_concurrency":    strconv.Itoa(d.Concurrency),
		"worker_max_deliveries": count(d.MaxDeliveries),
		"worker_call_timeout":   short(d.CallTimeout),
		"worker_forget_after":   short(d.ForgetAfter),
		"worker_archive_every":  short(d.ArchiveEvery),
		"webhook_types":         webhookTypes(),
	}
}

// short writes 2m for 2m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// Help is shown by --help.
func (c *workerCommand) Help() string {
	return `
Start and stop workers at any time, in any number: they share the work, and what a killed one had in hand is taken
over by the others. SIGTERM and Ctrl-C end it in order; a second one ends it at once, which loses nothing either.

On this machine, with simulated payments:

  holdfast worker --gateway simulator --log-format console

In a container, every flag as an environment variable:

  HOLDFAST_REDIS=redis://redis:6379/0 HOLDFAST_GATEWAY=https://payments.example holdfast worker
`
}

// config is checked, so that a bad value is told before anything is tried.
func (c *workerCommand) config() (workers.Config, error) {
	cfg := workers.Config{
		Name: c.Name, Version: readVersion().Version, HoldTime: c.HoldTime, MaxHold: c.MaxHold, ValidTime: c.ValidTime, ReclaimAfter: c.ReclaimAfter,
		Grace: c.Grace, Concurrency: c.Concurrency, PayWait: c.PayWait, MaxDeliveries: c.MaxDeliveries, CallTimeout: c.CallTimeout, ForgetAfter: c.ForgetAfter, ArchiveEvery: c.ArchiveEvery,
	}
	for _, role := range c.Roles {
		cfg.Roles = append(cfg.Roles, workers.Role(role))
	}
	archives := slices.Contains(cfg.Roles, workers.RoleArchive)
	if archives && c.Archive == "" {
		return cfg, badUsage("--roles archive: say where with --archive")
	}
	if c.Archive != "" {
		if err := archive.CheckURL(c.Archive); err != nil {
			return cfg, badUsage("--archive: %w", err)
		}
		if !archives && len(cfg.Roles) == len(workers.Roles) {
			cfg.Roles = append(cfg.Roles, workers.RoleArchive)
		}
	}
	switch {
	case c.KeepEvent < 0:
		return cfg, badUsage("--keep-event: want a duration such as 720h, or 0 for ever")
	case c.Archive != "":
		cfg.KeepEvent = c.KeepEvent
	}
	if c.SnapshotEvery != 0 && c.SnapshotEvery < time.Second {
		return cfg, badUsage("--snapshot-every: want at least 1s, or 0 for never")
	}
	if slices.Contains(cfg.Roles, workers.RoleArchive) {
		cfg.SnapshotEvery = c.SnapshotEvery
	}
	if c.KeepLog != 0 {
		if !slices.Contains(cfg.Roles, workers.RoleArchive) {
			return cfg, badUsage("--keep-log: only a worker that archives trims the log: say --archive")
		}
		if c.KeepLog < time.Minute || c.KeepLogBytes < 1<<20 {
			return cfg, badUsage("--keep-log, --keep-log-bytes: want at least 1m and 1048576")
		}
		cfg.TrimsLog = true
	}
	// To Config a zero means the default; to whoever wrote one it means something else.
	for _, d := range []time.Duration{c.HoldTime, c.MaxHold, c.ValidTime, c.ReclaimAfter, c.Grace, c.CallTimeout, c.ForgetAfter, c.ArchiveEvery} {
		if d <= 0 {
			return cfg, badUsage("want durations longer than 0, such as 90s or 2m")
		}
	}
	if c.Concurrency == 0 || c.MaxDeliveries == 0 {
		return cfg, badUsage("--concurrency, --max-deliveries: 0 will not do")
	}
	var err error
	if cfg.CodeKeys, err = c.keys(); err != nil {
		return cfg, err
	}
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

// gateway is the payment gateway that a worker calls.
type gateway struct {
	domain.PaymentGateway // nil: it calls none
	kind                  domain.GatewayKind
	name                  string // in the log
}

// gateway is the one that the flags name, nil inside if the roles call none.
func (c *workerCommand) gateway(cfg workers.Config) (g gateway, err error) {
	if c.Gateway != simulatorGateway && c.Simulator != (simulatorFlags{}) {
		return g, badUsage("the --simulator-… flags are for --gateway simulator")
	}
	if (c.Gateway == simulatorGateway || c.Gateway == stripeGateway) && c.As != (gatewayFlags{}) {
		return g, badUsage("the --gateway-… flags are for a gateway with a URL")
	}
	if c.Gateway != stripeGateway && c.Stripe != (stripeFlags{}) {
		return g, badUsage("the --stripe-… flags are for --gateway stripe")
	}
	switch c.Gateway {
	case "":
		if cfg.CallsGateway() {
			return g, badUsage("--gateway: name the payment gateway by its URL, or say --gateway simulator, which approves everything and moves no money")
		}
	case simulatorGateway:
		g.PaymentGateway, err = c.Simulator.simulator(true) // stateless, for other workers have one, too
		g.kind, g.name = domain.GatewaySimulator, simulatorGateway
	case stripeGateway:
		var client *stripe.Client
		if client, err = c.Stripe.client(c.CallTimeout); err == nil {
			g.PaymentGateway, g.kind, g.name = client, client.Kind(), string(client.Kind())
		}
	default:
		g.PaymentGateway, err = c.As.client(c.Gateway, c.CallTimeout)
		g.kind, g.name = domain.GatewayRemote, redactURL(c.Gateway)
	}
	if err != nil {
		return gateway{}, err
	}
	if !cfg.CallsGateway() {
		return gateway{name: "none"}, nil
	}
	return g, nil
}

func (c *workerCommand) Run(ctx context.Context, e *environment) error {
	log, err := newLogger(e.stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	return c.work(ctx, e, log)
}

// isWorker reports whether a command line is a worker's, also if it cannot be read.
func isWorker(parsed *kong.Context, args []string) bool {
	if parsed == nil || parsed.Selected() == nil {
		return slices.Contains(args, "worker")
	}
	return commandPath(parsed) == "holdfast worker"
}

// logFailure is complain for a worker: whoever reads its log reads why it ended, too, also
// where the rest of the command line cannot be read.
func (e *environment) logFailure(args []string, err error) {
	format := said(args, "HOLDFAST_LOG_FORMAT", "--log-format")
	log, failed := newLogger(e.stderr, format, zapcore.ErrorLevel.String())
	if failed != nil {
		e.complain(errors.Join(err, failed))
		return
	}
	log.Error("the worker failed", zap.String("code", string(codeOf(err))), zap.Error(err))
}

func (c *workerCommand) work(ctx context.Context, e *environment, log *zap.Logger) (err error) {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	gateway, err := c.gateway(cfg)
	if err != nil {
		return err
	}
	// The live heap is a few megabytes and the garbage short-lived: at the default
	// pace a busy worker spends a fifth of its time collecting it.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	shown, err := c.show(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shown.close()) }()
	tracing, err := telemetry.StartTracing(ctx, cfg.Name, readVersion().Version, log)
	if err != nil {
		return err
	}
	defer tracing.Close(log)
	mayCreate, err := e.newArchiveGuard(c.Archive)
	if err != nil {
		return err
	}
	store, err := e.openWhenUp(ctx, streams.Options{Create: true, MayCreate: mayCreate, Log: log}, c.WaitRedis)
	if err != nil {
		if ctx.Err() != nil {
			log.Info("worker stopped: told to while it waited for redis, nothing was in hand")
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, shown.close(), store.Close()) }() // nobody looks at a store that is closed
	bucket, err := c.bucket(ctx, cfg)
	if err != nil {
		return err
	}
	var archived domain.ArchivedEntries
	if bucket != nil {
		archived = archive.NewReader(bucket, e.namespace)
		defer func() { err = errors.Join(err, bucket.Close()) }()
	}
	if gateway.kind == domain.GatewayStripe || gateway.kind == domain.GatewayStripeTest {
		if store.FreeOrders() != streams.FreeOrdersDirect {
			return domain.WithClass(domain.ClassFatal, errors.New("stripe takes no payments of 0, of which this namespace asks: holdfast namespace set --free-orders direct"))
		}
	}
	pool, err := workers.New(cfg, workers.Deps{
		Archiver: c.archiver(cfg, store, bucket), Webhooks: webhookSender(cfg, store, archived, log),
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway.PaymentGateway, GatewayKind: gateway.kind, Partitions: store.Partitions(),
		PaymentNamespace: store.PaymentNamespace(), FreeOrders: store.FreeOrders() == streams.FreeOrdersDirect, Now: store.Now, Log: log, Tracer: tracing.Tracer(),
	})
	if err != nil {
		return err
	}
	shown.watch(pool, store)
	log.Info("serving", zap.String("version", readVersion().Version), zap.String("redis", redactURL(e.url())),
		zap.String("redis_version", lookAtServers(ctx, store, log)),
		zap.String("namespace", e.namespace), zap.Int("partitions", store.Partitions()),
		zap.String("payment_names", string(store.PaymentNames())), zap.String("free_orders", string(store.FreeOrders())),
		zap.Any("roles", cfg.Roles), zap.String("gateway", gateway.name), zap.String("archive", redactArchive(c.Archive)), zap.Bool("tracing", tracing.Tracer() != nil))
	switch gateway.kind {
	case domain.GatewaySimulator:
		log.Warn("payments are simulated: no money moves")
	case domain.GatewayStripeTest:
		log.Warn("payments are made in stripe's test mode: no money moves")
	case domain.GatewayRemote, domain.GatewayStripe:
	}
	return e.withHint(pool.Run(ctx))
}

// bucket is where the log is archived, nil if no role of this worker reads or writes there.
func (c *workerCommand) bucket(ctx context.Context, cfg workers.Config) (archive.Bucket, error) {
	if c.Archive == "" || !slices.Contains(cfg.Roles, workers.RoleArchive) && !slices.Contains(cfg.Roles, workers.RoleWebhooks) {
		return nil, nil //nolint:nilnil // as said
	}
	bucket, err := archive.Open(ctx, c.Archive)
	if err != nil {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("--archive: %w", err))
	}
	return bucket, nil
}

// archiver is what archives, nil if that is no role of this worker.
func (c *workerCommand) archiver(cfg workers.Config, store *streams.Store, bucket archive.Bucket) workers.Archiver {
	if !slices.Contains(cfg.Roles, workers.RoleArchive) {
		return nil
	}
	a := archive.NewArchiver(store.Ledger(), bucket, cfg.Name)
	if cfg.TrimsLog {
		a.Keep(domain.KeepLog{For: c.KeepLog, Bytes: c.KeepLogBytes})
	}
	return a
}

// lookAtServers warns of what is wrong with Redis, and returns its version.
func lookAtServers(ctx context.Context, store *streams.Store, log *zap.Logger) (version string) {
	version = "not known"
	servers, err := store.Servers(ctx)
	if err != nil {
		log.Info("redis does not say how it is set up", zap.Error(err))
		return version
	}
	for _, server := range servers {
		if server.Version != "" {
			version = server.Version
		}
		for _, fault := range server.Faults {
			at := zap.Skip()
			if server.Addr != "" {
				at = zap.String("server", server.Addr)
			}
			log.Warn("redis is not set up as it has to be", at, zap.String("fault", string(fault.Code)), zap.String("detail", fault.Detail))
		}
	}
	return version
}

func newLogger(stderr io.Writer, format, level string) (*zap.Logger, error) {
	atLeast, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if format == "console" {
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(stderr)), atLeast)), nil
}
