package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/producer"
)

// How streams of updates go on.
const (
	admittedEvery = 400 * time.Millisecond // whoever is not let in any more hears nothing more
	placeEvery    = time.Second
	feedEvery     = 250 * time.Millisecond
	silence       = 15 * time.Second // after which a comment says that the stream lives
)

// typeEvents is the media type of server-sent events.
const typeEvents = "text/event-stream"

func (s *Server) registerUpdates() {
	// What an event tells is its data, as JSON: that is what clients make of the schema of such a stream, the one that is generated among them.
	streams := func(doc string, told *huma.Schema) map[string]*huma.Response {
		return map[string]*huma.Response{
			"200": {Description: doc, Content: map[string]*huma.MediaType{typeEvents: {Schema: &huma.Schema{
				OneOf: []*huma.Schema{told, schemaOf[Problem](s)}, Description: doc + " This is the data of one, as JSON.",
			}}}},
			"204": {Description: "There is nothing more to come: do not ask again."},
		}
	}
	register(s, huma.Operation{
		OperationID: "order-updates", Method: http.MethodGet, Path: "/v1/orders/{event}/{id}/updates", Summary: "Hear what becomes of an order", Tags: []string{"orders"},
		Responses: streams("Server-sent events. order: an Order, now and whenever it has changed, or its place in line has. problem: a Problem, and the end. It ends with an outcome.", schemaOf[Order](s)),
	}, lookers, s.orderUpdates)
	register(s, huma.Operation{
		OperationID: "event-updates", Method: http.MethodGet, Path: "/v1/events/{event}/updates", Summary: "Hear what is left of an event", Tags: []string{"events"},
		Responses: streams("Server-sent events. event: an Event, now and whenever it has changed, four times a second at most. problem: a Problem, and the end.", schemaOf[Event](s)),
	}, anyone, s.eventUpdates)
}

// stream writes server-sent events.
type stream struct {
	w       io.Writer
	control *http.ResponseController
	timeout time.Duration
}

// send writes an event; an empty name is a comment.
func (s *stream) send(name, id string, data []byte) error {
	if name == "" {
		return s.write(":\n\n")
	}
	return s.write(eventText(name, id, data))
}

// eventText is an event as it is written.
func eventText(name, id string, data []byte) string {
	text := "event: " + name + "\n"
	if id != "" {
		text += "id: " + id + "\n"
	}
	return text + "data: " + string(data) + "\n\n"
}

func (s *stream) write(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := io.WriteString(s.w, text); err != nil {
		return err
	}
	return s.control.Flush()
}

// sendJSON is send of an object.
func (s *stream) sendJSON(name, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(name, id, data)
}

// line writes a line of JSON.
func (s *stream) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(string(data) + "\n")
}

var errNoPatience = problemOf(http.StatusServiceUnavailable, domain.CodeBusy, "as many wait as may: come back later")

// streaming is a response of a media type for as long as hear goes on, the caller is let in, and the process does not end. Each stream counts as a wait.
func (s *Server) streaming(ctx context.Context, contentType string, hear func(ctx context.Context, to *stream, still <-chan time.Time) error) (*huma.StreamResponse, error) {
	leave, err := s.patience(ctx, 0)
	if err != nil {
		return nil, errNoPatience
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer leave()
		ctx, cancel := context.WithCancel(hctx.Context())
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
		e, ok := ctx.Value(exchangeKey{}).(*exchange)
		if !ok {
			return // there is nobody to write to
		}
		to := &stream{w: e, control: http.NewResponseController(e), timeout: s.options.WriteTimeout}
		if err := to.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		hctx.SetHeader("Content-Type", contentType)
		hctx.SetHeader("X-Accel-Buffering", "no")
		hctx.SetStatus(http.StatusOK)
		defer s.attendance.join(callerOf(ctx), cancel)()
		silent := time.NewTicker(silence)
		defer silent.Stop()
		if err := hear(ctx, to, silent.C); err != nil && ctx.Err() == nil {
			s.log.Debug("a stream of updates ended", zap.Error(err))
		}
	}}, nil
}

// attendance looks whether those who hear streams are still let in, and ends the streams of those who are not. However many they are, one goroutine does so, as long
// as there is any.
type attendance struct {
	stays  func(context.Context, principal) bool
	beside *background

	mu      sync.Mutex
	all     map[*attendant]struct{}
	looking bool
}

type attendant struct {
	who principal
	end context.CancelFunc
}

// join has somebody looked after until they leave.
func (a *attendance) join(who principal, end context.CancelFunc) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := &attendant{who, end}
	a.all[one] = struct{}{}
	if !a.looking {
		a.looking = true
		a.beside.goes(a.look)
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.all, one)
	}
}

// look goes on until nobody is there any more.
func (a *attendance) look(ctx context.Context) {
	tick := time.NewTicker(admittedEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		now := slices.Collect(maps.Keys(a.all))
		a.looking = len(now) > 0
		a.mu.Unlock()
		if len(now) == 0 {
			return
		}
		for _, one := range now {
			if !a.stays(ctx, one.who) {
				one.end()
			}
		}
	}
}

func (s *Server) orderUpdates(ctx context.Context, in *struct {
	OrderPath
	Receipt     string `query:"receipt" maxLength:"512" doc:"Of its request: then there is a place in line while it waits."`
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last event that was heard."`
},
) (*huma.StreamResponse, error) {
	customer := callerOf(ctx).role == roleCustomer
	if customer {
		in.Receipt = ""
	}
	first, err := s.showOrder(ctx, &showOrderInput{OrderPath: in.OrderPath, Receipt: in.Receipt})
	if err != nil {
		return nil, err
	}
	ref := in.ref()
	order, err := s.look(ctx, ref)
	if err != nil {
		return nil, s.problem(err).of(ref)
	}
	if order.State.Terminal() && in.LastEventID == order.Version {
		return &huma.StreamResponse{Body: func(hctx huma.Context) { hctx.SetStatus(http.StatusNoContent) }}, nil
	}
	return s.streaming(ctx, typeEvents, func(ctx context.Context, to *stream, still <-chan time.Time) error {
		h := &orderHearing{Server: s, ref: ref, to: to, version: "unheard", last: first.Body}
		if in.Receipt != "" {
			var err error
			if h.receipt, err = parseReceipt(ref, in.Receipt); err != nil {
				return err
			}
		}
		return h.hear(ctx, order, still)
	})
}

// orderHearing is a stream of what becomes of one order.
type orderHearing struct {
	*Server
	ref     domain.OrderRef
	receipt producer.Receipt // its EntryID is empty if there is none
	to      *stream
	version string // that was told last
	last    Order  // likewise
}

type changed struct {
	outcome producer.Outcome
	err     error
}

func (h *orderHearing) hear(ctx context.Context, o domain.Order, still <-chan time.Time) error {
	place := time.NewTicker(placeEvery)
	defer place.Stop()
	if o.State == domain.OrderNone {
		if err := h.to.sendJSON("order", "", h.last); err != nil {
			return err
		}
		h.version = ""
	} else if over, err := h.tell(ctx, o); over || err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	news := make(chan changed, 1)
	wait := func() {
		version := h.version
		waiting.Go(func() {
			outcome, err := h.deps.Producer.WaitChange(ctx, h.ref.EventID, h.ref.OrderID, version)
			news <- changed{outcome, err}
		})
	}
	wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-still:
			if err := h.to.send("", "", nil); err != nil {
				return err
			}
		case <-place.C:
			if h.version != "" || h.receipt.EntryID == "" {
				continue
			}
			p, err := h.deps.Producer.Place(ctx, h.receipt)
			if err != nil {
				return h.fail(err)
			}
			if v := viewPlace(p); v != nil && !reflect.DeepEqual(v, h.last.Place) {
				h.last.Place = v
				if err := h.to.sendJSON("order", "", h.last); err != nil {
					return err
				}
			}
		case n := <-news:
			if n.err != nil {
				return h.fail(n.err)
			}
			if over, err := h.tell(ctx, n.outcome.Order); over || err != nil {
				return err
			}
			wait()
		}
	}
}

// tell sends an order as it stands now; over says that it has an outcome.
func (h *orderHearing) tell(ctx context.Context, o domain.Order) (over bool, err error) {
	v, err := h.view(ctx, h.ref, o)
	if err == nil {
		v, err = h.mayShow(ctx, v)
	}
	if err != nil {
		return true, h.fail(err)
	}
	h.version, h.last = o.Version, v
	return o.State.Terminal(), h.to.sendJSON("order", o.Version, v)
}

// fail tells why nothing more will come; that the stream ends because the caller has gone is none of it.
func (h *orderHearing) fail(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return errors.Join(err, h.to.sendJSON("problem", "", h.failed(err).of(h.ref)))
}

// feeds look at events for those who listen. However many do, each event is looked at once.
type feeds struct {
	mu sync.Mutex
	of map[string]*feed
}

// feed is what those who listen to one event hear.
type feed struct {
	listeners int
	stop      context.CancelFunc

	mu      sync.Mutex
	now     told
	err     error
	changed chan struct{} // closed when there is another
}

// told is how an event stands, as all who listen are told.
type told struct{ etag, text string }

func toldOf(p page) told {
	return told{p.etag, eventText("event", p.etag, bytes.TrimSuffix(p.body, []byte("\n")))}
}

// join is the feed of an event, to be left again.
func (s *Server) join(eventID string, first page) (f *feed, leave func()) {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	f = s.feeds.of[eventID]
	if f == nil {
		ctx, stop := context.WithCancel(s.ending)
		f = &feed{now: toldOf(first), changed: make(chan struct{}), stop: stop}
		s.feeds.of[eventID] = f
		s.beside.goes(func(context.Context) { s.feed(ctx, eventID, f) }) // it ends with the last who listens, and before the server
	}
	f.listeners++
	return f, func() {
		s.feeds.mu.Lock()
		defer s.feeds.mu.Unlock()
		if f.listeners--; f.listeners == 0 {
			f.stop()
			delete(s.feeds.of, eventID)
		}
	}
}

// feed looks at an event until nobody listens any more.
func (s *Server) feed(ctx context.Context, eventID string, f *feed) {
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p, err := s.eventPageOf(ctx, eventID, feedEvery/2) // not one of the tick before
		if err != nil && domain.ClassOf(err) == domain.ClassRetry {
			continue // Redis is away: nothing is known to have changed
		}
		f.mu.Lock()
		if err != nil || p.etag != f.now.etag {
			f.now, f.err = toldOf(p), err
			close(f.changed)
			f.changed = make(chan struct{})
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// next is what there is now, and what is closed when there is another.
func (f *feed) next() (told, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.changed, f.err
}

func (s *Server) eventUpdates(ctx context.Context, in *struct {
	Event       string `path:"event" doc:"event_id." maxLength:"128"`
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last event that was heard: it is not told again."`
},
) (*huma.StreamResponse, error) {
	first, err := s.eventPageOf(ctx, in.Event, glanceLasts)
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
	}
	return s.streaming(ctx, typeEvents, func(ctx context.Context, to *stream, still <-chan time.Time) error {
		f, leave := s.join(in.Event, first)
		defer leave()
		heard := in.LastEventID
		for {
			now, changed, err := f.next()
			if err != nil {
				return errors.Join(err, to.sendJSON("problem", "", s.problem(err)))
			}
			if now.etag != heard {
				if err := to.write(now.text); err != nil {
					return fmt.Errorf("event %s: %w", in.Event, err)
				}
				heard = now.etag
			}
			select {
			case <-changed:
			case <-still:
				if err := to.send("", "", nil); err != nil {
					return fmt.Errorf("event %s: %w", in.Event, err)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}
