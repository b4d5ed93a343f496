package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Namespace tells what a namespace was made with, and what it was told since.
type Namespace struct {
	Name         string             `json:"namespace"`
	Partitions   int                `json:"partitions"`
	Schema       string             `json:"schema"`
	Epoch        string             `json:"epoch"`
	PaymentNames PaymentNames       `json:"payment_names"`
	FreeOrders   FreeOrders         `json:"free_orders"`
	Gateway      domain.GatewayKind `json:"gateway"`
	MaxWaiting   int64              `json:"max_waiting"` // requests of a partition that may wait or be in hand; 0: any number
}

// PaymentNames says how payments are named at the gateway. It never changes: a payment
// that is called by another name is another payment.
type PaymentNames string

// The two ways to name a payment.
const (
	// PaymentNamesNamespaced is namespace/event_id/order_id: two namespaces at one gateway
	// never meet.
	PaymentNamesNamespaced PaymentNames = "namespaced"
	// PaymentNamesPlain is event_id/order_id, in namespaces that were made before names had more.
	PaymentNamesPlain PaymentNames = "plain"
)

// FreeOrders says what confirms an order that costs nothing.
type FreeOrders string

// Who confirms them.
const (
	// FreeOrdersDirect confirms them without a payment.
	FreeOrdersDirect FreeOrders = "direct"
	// FreeOrdersGateway asks the gateway for an authorization of 0, as workers did before
	// they knew better: while some of those run, they would cancel an order without one.
	FreeOrdersGateway FreeOrders = "gateway"
)

// PaymentNamespace is that of the payments' names (domain.PaymentName): empty where they are plain.
func (n Namespace) PaymentNamespace() string {
	if n.PaymentNames == PaymentNamesPlain {
		return ""
	}
	return n.Name
}

// metaFields are those of the meta hash, in the order in which parseMeta takes them.
var metaFields = []string{"partitions", "schema", "epoch", "payment_names", "free_orders", "gateway", "max_waiting"}

// readNamespace reads what is stored; found is false if there is no such namespace, as
// far as its meta tells.
func (s *Store) readNamespace(ctx context.Context) (ns Namespace, found bool, err error) {
	values, err := s.rdb.HMGet(ctx, layout.MetaKey(s.keys.Namespace), metaFields...).Result()
	if err != nil {
		return Namespace{}, false, fmt.Errorf("reading %s: %w", layout.MetaKey(s.keys.Namespace), access.Classify(err))
	}
	if values[0] == nil {
		return Namespace{}, false, nil
	}
	ns, err = parseMeta(s.keys.Namespace, values, s.migrating)
	return ns, err == nil, err
}

// parseMeta reads the meta hash. What this program does not know is of ClassFatal; migrating, it knows the schema before.
func parseMeta(name string, values []any, migrating bool) (Namespace, error) {
	ns := Namespace{Name: name, Schema: layout.AsString(values[1]), Epoch: layout.AsString(values[2])}
	fatal := func(format string, args ...any) (Namespace, error) {
		return Namespace{}, domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s "+format, append([]any{name}, args...)...))
	}
	var err error
	if ns.Partitions, err = strconv.Atoi(layout.AsString(values[0])); err != nil || ns.Partitions < 1 || ns.Partitions > MaxPartitions {
		return fatal("has a damaged number of partitions")
	}
	if ns.Schema == layout.SchemaRestoring {
		return Namespace{}, domain.WithCode(domain.ClassRetry, domain.CodeRestoring, fmt.Errorf("namespace %s is being restored from its archive, and not whole yet", name))
	}
	before := ns.Schema == layout.SchemaBefore || ns.Schema == layout.SchemaBetween
	switch {
	case ns.Schema == layout.Schema, before && migrating:
	case before:
		_, err := fatal("has schema %s, this program speaks %s", ns.Schema, layout.Schema)
		return Namespace{}, domain.WithCode(domain.ClassFatal, domain.CodeSchemaBefore, err)
	default:
		return fatal("has schema %s, this program speaks %s: use a matching version", ns.Schema, layout.Schema)
	}
	if ns.PaymentNames = PaymentNamesPlain; values[3] != nil {
		ns.PaymentNames = PaymentNames(layout.AsString(values[3]))
	}
	if ns.FreeOrders = FreeOrdersGateway; values[4] != nil {
		ns.FreeOrders = FreeOrders(layout.AsString(values[4]))
	}
	ns.Gateway = domain.GatewayKind(layout.AsString(values[5]))
	for _, of := range []struct {
		field, value string
		known        []string
	}{
		{metaFields[3], string(ns.PaymentNames), []string{string(PaymentNamesNamespaced), string(PaymentNamesPlain)}},
		{metaFields[4], string(ns.FreeOrders), []string{string(FreeOrdersDirect), string(FreeOrdersGateway)}},
	} {
		if !slices.Contains(of.known, of.value) {
			return fatal("has %s %q, which this program does not know: use a matching version", of.field, of.value)
		}
	}
	if ns.Gateway != "" && !slices.Contains(domain.GatewayKinds, ns.Gateway) {
		return fatal("has %s %q, which this program does not know: use a matching version", metaFields[5], string(ns.Gateway))
	}
	if values[6] != nil {
		stored := layout.AsString(values[6])
		if ns.MaxWaiting, err = strconv.ParseInt(stored, 10, 64); err != nil || ns.MaxWaiting < 1 {
			return fatal("has %s %q, which this program does not know: use a matching version", metaFields[6], stored)
		}
	}
	return ns, nil
}

// MetaOf are the fields of the meta hash of a namespace that is made as it was archived, but for the epoch. Error: of ClassFatal if this
// program does not know what it was made with.
func MetaOf(is domain.ArchivedNamespace) ([]any, error) {
	ns := Namespace{PaymentNames: PaymentNames(is.PaymentNames), FreeOrders: FreeOrders(is.FreeOrders), Gateway: domain.GatewayKind(is.Gateway), MaxWaiting: is.MaxWaiting}
	fields := append([]any{metaFields[0], is.Partitions, metaFields[1], is.Schema}, ns.pins()...)
	values := make([]any, len(metaFields))
	for i := 0; i < len(fields); i += 2 {
		values[slices.Index(metaFields, fields[i].(string))] = fmt.Sprint(fields[i+1])
	}
	read, err := parseMeta(is.Namespace, values, false)
	if err == nil && (read.PaymentNames != ns.PaymentNames || read.FreeOrders != ns.FreeOrders) {
		err = domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s was archived without what it was made with", is.Namespace))
	}
	return fields, err
}

// pins are the fields of the meta hash that are stored beside partitions, schema and
// epoch. What is not stored is as it was before there was a choice.
func (n Namespace) pins() []any {
	var pins []any
	if n.PaymentNames != PaymentNamesPlain {
		pins = append(pins, "payment_names", string(n.PaymentNames))
	}
	if n.FreeOrders != FreeOrdersGateway {
		pins = append(pins, "free_orders", string(n.FreeOrders))
	}
	if n.Gateway != "" {
		pins = append(pins, "gateway", string(n.Gateway))
	}
	if n.MaxWaiting > 0 {
		pins = append(pins, "max_waiting", n.MaxWaiting)
	}
	return pins
}

// make stores a namespace under a new epoch, unless one is stored by now, and returns
// the one that is. A crash after it leaves a namespace without groups, which the next worker makes.
func (s *Store) make(ctx context.Context, as Namespace) (ns Namespace, made bool, err error) {
	epoch, err := uuid.NewV7()
	if err != nil {
		return Namespace{}, false, fmt.Errorf("naming the epoch: %w", err)
	}
	args := append([]any{as.Partitions, layout.Schema, epoch.String()}, as.pins()...)
	reply, err := s.run(ctx, scriptInit, []string{layout.MetaKey(s.keys.Namespace)}, args...).Int()
	if err != nil {
		return Namespace{}, false, fmt.Errorf("creating namespace %s: %w", s.keys.Namespace, access.Classify(err))
	}
	ns, found, err := s.readNamespace(ctx)
	if err == nil && !found {
		err = s.noSuchNamespace() // it was there a moment ago
	}
	if err == nil && reply == 1 {
		s.log.Info("namespace created", zap.String("namespace", ns.Name), zap.Int("partitions", ns.Partitions),
			zap.String("payment_names", string(ns.PaymentNames)), zap.String("free_orders", string(ns.FreeOrders)))
	}
	return ns, err == nil && reply == 1, err
}

func (s *Store) noSuchNamespace() error {
	return domain.WithCode(domain.ClassReject, domain.CodeNoSuchNamespace, fmt.Errorf("no such namespace: %s", s.keys.Namespace))
}

// find returns the namespace to open, and makes it if that is asked for and nothing of it
// is there, or if its meta is to be restored. Without that it writes nothing.
func (s *Store) find(ctx context.Context, o Options) (ns Namespace, made bool, err error) {
	ns, found, err := s.readNamespace(ctx)
	if o.Rebuild {
		return s.findToRebuild(o, found, err)
	}
	if err != nil || found {
		return ns, false, err
	}
	left, err := s.lookForRemains(ctx)
	if err != nil && domain.ClassOf(err) == domain.ClassFatal && !o.Create {
		// Forbidden to this user. That it is not there is known all the same.
		return Namespace{}, false, domain.WithCode(domain.ClassReject, domain.CodeNoSuchNamespace, fmt.Errorf("%w (%s)", s.noSuchNamespace(), err.Error()))
	}
	if err != nil {
		return Namespace{}, false, err
	}
	if !left.empty() {
		// Perhaps it is being made at this moment: its meta comes first.
		if ns, found, err = s.readNamespace(ctx); err != nil || found {
			return ns, false, err
		}
	}
	if err := s.refuseRemainsBefore(ctx, left); err != nil {
		return Namespace{}, false, err
	}
	switch {
	case left.empty() && !o.Create:
		return Namespace{}, false, s.noSuchNamespace()
	case left.empty() && o.Restore:
		return Namespace{}, false, domain.WithCode(domain.ClassReject, domain.CodeNoSuchNamespace,
			fmt.Errorf("no such namespace: %s: nothing of it is there that could be restored", s.keys.Namespace))
	case !left.empty() && !o.Restore:
		return Namespace{}, false, s.withoutMeta(left)
	case !left.empty():
		if err := s.checkRemains(ctx, left, o.Partitions); err != nil {
			return Namespace{}, false, err
		}
	}
	if left.empty() {
		if err := s.askToCreate(ctx); err != nil {
			return Namespace{}, false, err
		}
	}
	as := Namespace{Partitions: o.Partitions, PaymentNames: o.PaymentNames, FreeOrders: FreeOrdersDirect}
	if o.Restore {
		as.FreeOrders = FreeOrdersGateway // nobody knows: the one that is right with workers of every version
	}
	return s.make(ctx, as)
}

// askToCreate returns why nothing is to be made, although nothing is there; nil if it may be.
func (s *Store) askToCreate(ctx context.Context) error {
	if s.mayCreate == nil {
		return nil
	}
	return s.mayCreate(ctx)
}

// findToRebuild is find for package restore, given what readNamespace has found: that looks at the rest.
func (s *Store) findToRebuild(o Options, found bool, err error) (Namespace, bool, error) {
	switch {
	case found:
		return Namespace{}, false, domain.WithCode(domain.ClassReject, domain.CodeConflict, fmt.Errorf("namespace %s is there: what is restored goes into an empty one", s.keys.Namespace))
	case err != nil && domain.CodeOf(err) != domain.CodeRestoring:
		return Namespace{}, false, err
	}
	return Namespace{Name: s.keys.Namespace, Partitions: o.Partitions}, false, nil
}

// remains are what is there of a namespace whose meta is not.
type remains struct {
	logs     []int // partitions with a log: all that the namespace has, as each is made with it
	requests []int // partitions with requests only: what was published into nothing
}

func (r remains) empty() bool { return len(r.logs)+len(r.requests) == 0 }

func (r remains) String() string {
	if len(r.logs) > 0 {
		return plural(len(r.logs), "partition") + " " + ranges(r.logs)
	}
	return "requests in " + plural(len(r.requests), "partition") + " " + ranges(r.requests)
}

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

// ranges writes sorted numbers: 0 to 3, 7.
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		end := i
		for end+1 < len(numbers) && numbers[end+1] == numbers[end]+1 {
			end++
		}
		part := strconv.Itoa(numbers[i])
		if end > i {
			part += " to " + strconv.Itoa(numbers[end])
		}
		parts = append(parts, part)
		i = end + 1
	}
	return strings.Join(parts, ", ")
}

// lookForRemains looks for the streams of every partition that there could be. It asks
// for keys by their names, so it costs the same whatever else is in Redis, and finds
// them in a Cluster, too.
func (s *Store) lookForRemains(ctx context.Context) (r remains, err error) {
	keys := layout.NewKeys(s.keys.Namespace, MaxPartitions)
	pipe := s.rdb.Pipeline()
	logs, requests := make([]*redis.IntCmd, MaxPartitions), make([]*redis.IntCmd, MaxPartitions)
	for p := range MaxPartitions {
		logs[p], requests[p] = pipe.Exists(ctx, keys.Log(p)), pipe.Exists(ctx, keys.Requests(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return remains{}, fmt.Errorf("looking for partitions of %s: %w", s.keys.Namespace, access.Classify(err))
	}
	for p := range MaxPartitions {
		switch {
		case logs[p].Val() > 0:
			r.logs = append(r.logs, p)
		case requests[p].Val() > 0:
			r.requests = append(r.requests, p)
		}
	}
	return r, nil
}

// refuseRemainsBefore: what looks like requests that were published into nothing may be a namespace of the schema before
// whose meta is lost. Nobody may begin another one in its place.
func (s *Store) refuseRemainsBefore(ctx context.Context, r remains) error {
	if len(r.requests) == 0 {
		return nil
	}
	keys := layout.NewKeys(s.keys.Namespace, MaxPartitions)
	pipe := s.rdb.Pipeline()
	kinds := make([]*redis.StatusCmd, len(r.requests))
	for i, p := range r.requests {
		kinds[i] = pipe.Type(ctx, keys.LogBefore(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("looking for what is left of %s: %w", s.keys.Namespace, access.Classify(err))
	}
	for i, p := range r.requests {
		if kinds[i].Val() == "stream" {
			return domain.WithCode(domain.ClassFatal, domain.CodeNamespaceDamaged,
				fmt.Errorf("found %s of schema %s, but no %s: what it was made with is lost; write it again with a program of that schema, then migrate",
					keys.LogBefore(p), layout.SchemaBefore, layout.MetaKey(s.keys.Namespace)))
		}
	}
	return nil
}

// withoutMeta is the error for a namespace that has partitions and no meta: nobody may
// guess how many it had, or how its payments are named.
func (s *Store) withoutMeta(r remains) error {
	return domain.WithCode(domain.ClassFatal, domain.CodeNamespaceDamaged,
		fmt.Errorf("found %s of namespace %s, but no %s: what it was made with is lost", r, s.keys.Namespace, layout.MetaKey(s.keys.Namespace)))
}

// checkRemains returns an error if the namespace that these are of cannot have had so
// many partitions: as many as there are logs, with every event in its own; or, if there
// are only requests, more than the last of them.
func (s *Store) checkRemains(ctx context.Context, r remains, partitions int) error {
	wrong := func(format string, args ...any) error {
		return domain.WithCode(domain.ClassReject, domain.CodeConflict, fmt.Errorf("found %s of namespace %s, "+format, append([]any{r, s.keys.Namespace}, args...)...))
	}
	if len(r.requests) > 0 && partitions <= r.requests[len(r.requests)-1] {
		return wrong("so it had more than %d", partitions)
	}
	if len(r.logs) == 0 {
		return nil
	}
	if partitions != r.logs[len(r.logs)-1]+1 {
		return wrong("so it had not %d", partitions)
	}
	keys := layout.NewKeys(s.keys.Namespace, partitions)
	in := access.Namespace{Client: s.rdb, Keys: keys}
	for _, p := range r.logs {
		elsewhere := "" // also one that was forgotten tells where it is
		if err := in.EachTerms(ctx, p, func(event string, _ layout.EventTerms) {
			if keys.PartitionOf(event) != p {
				elsewhere = event
			}
		}); err != nil {
			return fmt.Errorf("listing events: %w", err)
		}
		if elsewhere != "" {
			return wrong("but event %s is in %d, where it would not be if there were %d", elsewhere, p, partitions)
		}
	}
	return nil
}

// Settings of a namespace are what may be changed after it was made. What is empty stays as it is.
type Settings struct {
	FreeOrders FreeOrders
	Gateway    domain.GatewayKind
	MaxWaiting *int64 // 0: any number
}

// Set changes settings, all in one step. Workers that are served by another kind of
// gateway stop when they see it, within a second or so; how free orders are handled they
// take up when they are started the next time. Publishers see how many requests may wait when they publish, and were
// told so a second before or more. Errors: ClassReject for a setting that there is
// not; domain.CodeNoSuchNamespace; domain.ErrUnknownOutcome.
func (s *Store) Set(ctx context.Context, to Settings) error {
	var args []any
	switch to.FreeOrders {
	case "":
	case FreeOrdersGateway:
		args = append(args, "free_orders", "")
	case FreeOrdersDirect:
		args = append(args, "free_orders", string(to.FreeOrders))
	default:
		return domain.WithClass(domain.ClassReject, fmt.Errorf("free orders: want %s or %s", FreeOrdersDirect, FreeOrdersGateway))
	}
	switch {
	case to.Gateway == "":
	case slices.Contains(domain.GatewayKinds, to.Gateway):
		if err := s.checkMode(ctx, to.Gateway); err != nil {
			return err
		}
		args = append(args, "gateway", string(to.Gateway))
	default:
		return domain.WithClass(domain.ClassReject, fmt.Errorf("gateway: want one of %v", domain.GatewayKinds))
	}
	switch {
	case to.MaxWaiting == nil:
	case *to.MaxWaiting < 0:
		return domain.WithClass(domain.ClassReject, errors.New("max waiting: want 0 (any number), or more"))
	case *to.MaxWaiting == 0:
		args = append(args, "max_waiting", "")
	default:
		args = append(args, "max_waiting", *to.MaxWaiting)
	}
	reply, err := s.run(ctx, scriptSetNamespace, []string{layout.MetaKey(s.keys.Namespace)}, args...).Int()
	if err != nil {
		return fmt.Errorf("script set_namespace: %w", access.ClassifyChange(err))
	}
	if reply == 0 {
		return s.noSuchNamespace()
	}
	return nil
}

// checkMode refuses to change from Stripe's test mode to its live one, or back: what was paid for in one is not there in the other.
func (s *Store) checkMode(ctx context.Context, to domain.GatewayKind) error {
	modes := []domain.GatewayKind{domain.GatewayStripe, domain.GatewayStripeTest}
	if !slices.Contains(modes, to) {
		return nil
	}
	ns, found, err := s.readNamespace(ctx)
	if err == nil && found && ns.Gateway != to && slices.Contains(modes, ns.Gateway) {
		return domain.WithClass(domain.ClassReject, fmt.Errorf("gateway: namespace %s is served by %s, whose payments %s does not know: make another namespace", s.keys.Namespace, ns.Gateway, to))
	}
	return err
}

// ServeWith implements domain.Ledger.
func (l *Ledger) ServeWith(ctx context.Context, kind domain.GatewayKind) error {
	s := l.store
	noted, err := s.run(ctx, scriptPinGateway, []string{layout.MetaKey(s.keys.Namespace)}, string(kind)).Text()
	switch {
	case access.IsNil(err):
		return s.noSuchNamespace()
	case err != nil:
		return fmt.Errorf("script pin_gateway: %w", access.Classify(err))
	}
	if err := s.otherGateway(domain.GatewayKind(noted), kind); err != nil {
		return err
	}
	s.servedBy = kind
	ns := s.history.namespace()
	ns.Gateway = kind
	s.history.noteNamespace(ns)
	return nil
}

// otherGateway returns an error if a namespace that is served by one kind meets a worker of another.
func (s *Store) otherGateway(noted, own domain.GatewayKind) error {
	if noted == "" || own == "" || noted == own {
		return nil
	}
	return domain.WithCode(domain.ClassFatal, domain.CodeOtherGateway,
		fmt.Errorf("namespace %s is served by a payment gateway of kind %s, and this worker has one of kind %s", s.keys.Namespace, noted, own))
}
