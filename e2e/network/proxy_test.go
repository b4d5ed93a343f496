package network

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// proxy is what lies between a client and its server: toxiproxy, on a port that stays.
type proxy struct {
	t        testing.TB
	server   *toxiproxy.ApiServer
	running  *toxiproxy.Proxy
	address  string
	upstream string
}

func newProxy(t testing.TB, upstream string) *proxy {
	t.Helper()
	p := &proxy{
		t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		address: "127.0.0.1:0", upstream: upstream,
	}
	p.up()
	t.Cleanup(func() { p.running.Stop() })
	return p
}

// up makes it work, without any toxic.
func (p *proxy) up() {
	p.t.Helper()
	p.running = toxiproxy.NewProxy(p.server, p.t.Name(), p.address, p.upstream)
	// While it was down, somebody else may have been given its port for a moment.
	eventually(p.t, "the proxy listens", p.running.Start)
	p.address = p.running.Listen
}

// down refuses connections, and cuts those that there are.
func (p *proxy) down() { p.running.Stop() }

// heal ends whatever is wrong. It begins anew instead of taking toxics out: those
// that lose data leave connections behind that nobody could use.
func (p *proxy) heal() {
	p.t.Helper()
	p.running.Stop()
	p.up()
}

// The directions of a toxic: what goes to the server, and what comes from it.
const (
	upstream   = "upstream"
	downstream = "downstream"
)

// poison puts a fault on connections that there are and those to come.
func (p *proxy) poison(f fault, direction string, rng *rand.Rand) {
	p.t.Helper()
	if f.toxics == nil {
		p.down()
		return
	}
	for _, toxic := range f.toxics(rng) {
		p.t.Logf("%s, %s: %s %v", f.kind, direction, toxic.Type, toxic.Attributes)
		toxic.Stream = direction
		text, err := json.Marshal(toxic)
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.running.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
			p.t.Fatalf("adding %s: %v", text, err)
		}
	}
}

// fault is one way in which a network misbehaves.
type fault struct {
	kind string
	// cuts says that commands must fail of it; of the others they only become slow.
	cuts bool
	// toxics draws what to put on; nil: the proxy is down.
	toxics func(rng *rand.Rand) []toxic
}

// toxic is one of toxiproxy's, as it wants to be told.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]int `json:"attributes"`
}

var faults = []fault{
	{"latency", false, func(rng *rand.Rand) []toxic {
		latency := between(rng, 5, 150)
		return []toxic{{Type: "latency", Attributes: map[string]int{"latency": latency, "jitter": between(rng, 1, latency)}}}
	}},
	{"replies too late", true, func(rng *rand.Rand) []toxic {
		latency := millis(patienceOfClients) + between(rng, 100, 400)
		return []toxic{{Type: "latency", Attributes: map[string]int{"latency": latency, "jitter": between(rng, 1, 400)}}}
	}},
	{"silence", true, func(*rand.Rand) []toxic { // what is sent is lost, the connection stays
		return []toxic{{Type: "timeout", Attributes: map[string]int{"timeout": 0}}}
	}},
	{"timeout", true, func(rng *rand.Rand) []toxic {
		return []toxic{{Type: "timeout", Attributes: map[string]int{"timeout": between(rng, 20, 400)}}}
	}},
	{"reset", true, func(rng *rand.Rand) []toxic {
		return []toxic{{Type: "reset_peer", Attributes: map[string]int{"timeout": between(rng, 0, 100)}}}
	}},
	{"half a reply", true, func(rng *rand.Rand) []toxic {
		return []toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": between(rng, 1, 3000)}}}
	}},
	{"slow close", true, func(rng *rand.Rand) []toxic { // half a reply, and then nothing for a while
		return []toxic{
			{Type: "limit_data", Attributes: map[string]int{"bytes": between(rng, 1, 3000)}},
			{Type: "slow_close", Attributes: map[string]int{"delay": between(rng, 100, 1500)}},
		}
	}},
	{"bandwidth", false, func(rng *rand.Rand) []toxic {
		return []toxic{{Type: "bandwidth", Attributes: map[string]int{"rate": between(rng, 5, 50)}}} // KB/s
	}},
	{"slices", false, func(rng *rand.Rand) []toxic {
		size := between(rng, 4, 64)
		return []toxic{{Type: "slicer", Attributes: map[string]int{
			"average_size": size, "size_variation": between(rng, 1, size-1), "delay": between(rng, 10, 1000), // microseconds
		}}}
	}},
	{"down", true, nil},
}

func faultOf(kind string) fault {
	return faults[slices.IndexFunc(faults, func(f fault) bool { return f.kind == kind })]
}

// between draws from least to most, both included.
func between(rng *rand.Rand, least, most int) int { return least + rng.IntN(most-least+1) }

// directions in which a fault can be put on.
func (f fault) directions() []string {
	if f.toxics == nil {
		return []string{"both"}
	}
	return []string{upstream, downstream}
}
