#!/usr/bin/env bash
# Makes the data of this directory: a small namespace of schema 1 with something of everything, and what the program that
# made it prints about it. README.md says what is in it, and of which revision that program was.
#
#   make.sh HOLDFAST DIRECTORY
#
# HOLDFAST is the program, DIRECTORY gets the files. Needs Linux, redis-server 7, redis-cli, curl, jq and perl; takes half a
# minute. One step depends on the machine being fast enough: if it was not, the script says so and fails.
set -euo pipefail

holdfast=$(realpath "$1")
into=$(realpath "$2")
home=$(mktemp -d)
socket=$home/redis.sock
partitions=3
export HOLDFAST_REDIS=unix://$socket HOLDFAST_OUTPUT=json HOLDFAST_TOKEN=tok_fake HOLDFAST_RECLAIM_AFTER=1s
declare -A pids=() # what runs, by name

finish() {
	for name in "${!pids[@]}"; do
		kill -KILL "${pids[$name]}" 2>/dev/null || true
	done
	wait
	rm -rf "$home"
}
trap finish EXIT

fail() {
	echo "$*" >&2
	exit 1
}

eventually() { # a command: until it succeeds
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		if "$@" >/dev/null 2>&1; then
			return
		fi
		sleep 0.05
	done
	fail "waited in vain: $*"
}

redis() { redis-cli -s "$socket" "$@"; }

start_redis() { # its directory
	redis-server --port 0 --unixsocket "$socket" --dir "$1" --daemonize no --save '' --logfile "$1/redis.log" \
		--appendonly yes --aof-use-rdb-preamble no --auto-aof-rewrite-percentage 0 &
	pids[redis]=$!
	eventually redis PING
}

start() { # a worker: its name, and further arguments
	local name=$1
	shift
	"$holdfast" worker --name "$name" --gateway "$gateway" "$@" 2>"$home/$name.log" &
	pids[$name]=$!
	eventually grep -q '"worker started"' "$home/$name.log"
}

stop() { # in order
	kill -TERM "${pids[$1]}"
	wait "${pids[$1]}"
	unset "pids[$1]"
}

murder() {
	kill -KILL "${pids[$1]}"
	wait "${pids[$1]}" 2>/dev/null || true
	unset "pids[$1]"
}

freeze() {
	kill -STOP "${pids[$1]}"
	eventually grep -q '^State:.T' "/proc/${pids[$1]}/status"
}

thaw() { kill -CONT "${pids[$1]}"; }

buy() { "$holdfast" publish --wait "$@" >/dev/null; }
send() { "$holdfast" publish "$@" >/dev/null; }
cancel() { "$holdfast" orders cancel --wait "$1" >/dev/null; }

raw() { # a partition, then fields and values: what no publisher should publish
	local p=$1
	shift
	redis XADD "holdfast:{$p}:requests" '*' "$@" >/dev/null
}

partition_of() { # an event that is listed
	local p
	for ((p = 0; p < partitions; p++)); do
		if [ "$(redis EXISTS "holdfast:{$p}:event:$1")" = 1 ]; then
			echo "$p"
			return
		fi
	done
	fail "no event $1"
}

is() { [ "$("$holdfast" orders show "$1" | jq -r .state)" = "$2" ]; } # event_id/order_id, state

groups() { "$holdfast" pending | jq -s "map(select(.group == \"$1\"))"; }
has_pending() { groups "$1" | jq -e "(map(.pending) | add) >= $2"; } # group, how many
in_hand_of() { groups "$2" | jq -e "any(.[].entries[]; .consumer == \"$1\")"; }
drained() {
	local group
	for group in "$@"; do
		groups "$group" | jq -e 'all(.[]; .backlog == 0)' || return 1
	done
}
has_dead() { "$holdfast" dead list | jq -s -e "map(select(.group == \"$1\")) | length == $2"; }
nobody_alive() { "$holdfast" pending | jq -s -e 'all(.[].consumers[]; .alive | not)'; }
no_turns() { [ -z "$(redis --scan --pattern 'holdfast:{*}:turn:*')" ]; }

at_gateway() { # what a person, or a worker, asks of it: method, event_id/order_id with a call, and a body
	curl -sS -f -o /dev/null -X "$1" -d "${3-}" "$gateway/authorizations/$2"
}
authorize() { # event_id/order_id, amount, currency, customer_id: word for word as a worker asks
	at_gateway PUT "$1" "{\"amount\":$2,\"currency\":\"$3\",\"customer_id\":\"$4\",\"payment_token\":\"$HOLDFAST_TOKEN\"}"
}

mkdir "$home/made" "$home/again"
start_redis "$home/made"
"$holdfast" gateway --listen 127.0.0.1:0 >"$home/gateway.out" &
pids[gateway]=$!
eventually grep -q url "$home/gateway.out"
gateway=$(jq -r .url "$home/gateway.out")

# Events: prices of two, three and no digits, and in a currency that there is not; several sections, one of them free;
# names that are not plain; limits; dates; adjusted, closed.
gala='gala@night+1.5-b'
{
	"$holdfast" init --partitions "$partitions"
	"$holdfast" events create jazz-night --name 'Jazz Night' --currency EUR --section general=20@10.00
	"$holdfast" events create opera --name 'The Opera | "La Bohème"' --currency EUR --max-per-order 4 \
		--section stalls=30@85.50 --section balcony=12@40 --section standing=10@0
	"$holdfast" events adjust opera --section stalls=32@90 --section gallery=8@15.50
	"$holdfast" events adjust opera --name 'The Opera | "La Traviata"'
	"$holdfast" events create kabuki --name 歌舞伎 --currency JPY --section general=15@4500 \
		--on-sale 2020-01-01T00:00:00Z --off-sale 2099-12-31T23:59:59Z
	"$holdfast" events create later --name 'Not Yet' --currency KWD --section general=5@1.250 --on-sale 2099-01-01T00:00:00Z
	"$holdfast" events create over --name 'Closed' --currency EUR --section general=5@10
	"$holdfast" events create "$gala" --name 'Gala' --currency CHF --section box-1.a@left+x=2@0.05 --section general=3@250
	"$holdfast" events create duo --name 'For Two' --currency EUR --section general=2@99.99
	"$holdfast" events create elsewhere --name 'No Such Money' --currency ZZZ --section general=5@1.00
} >/dev/null
for ((p = 0; p < partitions; p++)); do
	redis --scan --pattern "holdfast:{$p}:event:*" | grep -q . || fail "no event in partition $p"
done
jazz=$(partition_of jazz-night)
[ "$jazz" != "$(partition_of kabuki)" ] || fail "jazz-night and kabuki are in one partition"

# What waits for too long: published before anybody works.
send --event jazz-night --customer slow --order too-late --valid-seconds 1
send --type hold --event jazz-night --customer patient --order paid-too-late --hold-seconds 900
send --type pay --event jazz-night --order paid-too-late --valid-seconds 1
sleep 1.5
start all-1 --pay-wait 1s
eventually is jazz-night/too-late rejected

# Confirmed, posted, settled.
buy --event jazz-night --customer fred --quantity 2 --order cart-1
buy --event kabuki --customer yuki --quantity 4 --order cart-1 # the same order_id, another event
buy --event opera --customer amy --section stalls --quantity 3 --unit-price 9000 --order cart-2
buy --event opera --customer amy --section standing --order free-1
buy --event elsewhere --customer fred --order cart-3
buy --event duo --customer fred --quantity 2 --order duo-1
buy --event "$gala" --customer anna+gala@example.com --section box-1.a@left+x --order cart.4711@shop+a-b
buy --type hold --event opera --customer ben --section balcony --quantity 2 --order hold-then-pay --hold-seconds 900
buy --type pay --event opera --order hold-then-pay
buy --event over --customer early.bird --order before-close
"$holdfast" events close over >/dev/null

# Declined; expired, once with a payment that has no answer before the deadline; cancelled from every state.
HOLDFAST_TOKEN=decline_fake buy --event jazz-night --customer poor --order declined-1
buy --type hold --event jazz-night --customer forgetful --order expired-1 --hold-seconds 1
freeze gateway
send --event kabuki --customer unlucky --order expired-paying --hold-seconds 1
eventually is kabuki/expired-paying expired
thaw gateway
eventually is jazz-night/expired-1 expired
buy --type hold --event kabuki --customer fickle --order cancelled-held
cancel kabuki/cancelled-held
buy --event opera --customer fickle --section stalls --quantity 2 --order cancelled-confirmed
buy --event "$gala" --customer fickle --order cancelled@gala
buy --event jazz-night --customer regretful --order cancelled-later
eventually drained workers posting settlement
cancel opera/cancelled-confirmed
cancel "$gala/cancelled@gala"
buy --type cancel --event jazz-night --order cancelled-unseen
buy --type cancel --event jazz-night --order cancelled-first
send --event jazz-night --customer nobody --order cancelled-first # comes behind its cancel, and is absorbed

# Rejected, for every reason there is.
raw "$jazz" v 1 type purchase event_id jazz-night order_id invalid-1 customer_id fred quantity 0 payment_token tok_fake
raw "$jazz" v 1 type hold event_id jazz-night order_id invalid-2 customer_id 'not|an id' quantity 1
for ((p = 0; p < partitions; p++)); do # which is the right one, only a worker can tell; in the others it is a dead letter
	raw "$p" v 1 type purchase event_id nowhere order_id unknown-event customer_id fred quantity 1 payment_token tok_fake
done
buy --event jazz-night --customer fred --section terrace --order unknown-section
buy --event later --customer fred --order not-on-sale
buy --event over --customer fred --order closed
buy --event jazz-night --customer fred --unit-price 999 --order price-changed
buy --event opera --customer fred --section balcony --quantity 5 --order over-limit
buy --event duo --customer amy --order sold-out

# Held, and so in progress; and another order of such a customer.
buy --type hold --event jazz-night --customer zoe --quantity 3 --order held-1 --hold-seconds 900
buy --type hold --event kabuki --customer zoe@example.com --order held+2 --hold-seconds 900
buy --type hold --event jazz-night --customer ben --order late-pay --hold-seconds 900
buy --type hold --event kabuki --customer ben --quantity 2 --order late-pay --hold-seconds 900
buy --event jazz-night --customer zoe --order in-progress

# Dead letters of requests.
raw "$jazz" v 2 type purchase event_id jazz-night order_id of-version-2 customer_id fred quantity 1 payment_token tok_fake
raw "$jazz" v 1 type refund event_id jazz-night order_id of-no-type payment_token tok_fake
raw "$jazz" hello world payment_token tok_fake '' '' $'\x01' 'tab	and "quotes"'
raw "$(partition_of opera)" v 1 type pay event_id opera order_id hold-then-pay
send --event jazz-night --customer fred --quantity 1 --order cart-1 # another body
send --type pay --event opera --order never-held
eventually is nowhere/unknown-event rejected
eventually has_dead workers $((7 + partitions - 1)) # and the pay that was too late
eventually drained workers posting settlement
stop all-1

# A capture that is refused for good: somebody voided the payment at the gateway.
start front-1 --roles purchase --pay-wait 10m
buy --event opera --customer refused --section stalls --order capture-failed
at_gateway POST opera/capture-failed/void
start back-0 --roles posting,settlement
eventually is opera/capture-failed cancelled

# A dead letter of posting: a key of another type was in its way. Later the order was cancelled.
redis SET 'holdfast:invoices:{jinx}' damaged >/dev/null
buy --event jazz-night --customer jinx --order not-posted
eventually has_dead posting 1
redis DEL 'holdfast:invoices:{jinx}' >/dev/null
cancel jazz-night/not-posted
eventually drained posting settlement
stop back-0

# A dead letter of settlement: two workers die of it. The payment was captured by hand since.
buy --event jazz-night --customer fred --order doubtful
freeze gateway
for name in doomed-1 doomed-2; do
	start "$name" --roles settlement
	eventually in_hand_of "$name" settlement
	murder "$name"
done
thaw gateway
start back-1 --roles posting,settlement --max-deliveries 2
eventually has_dead settlement 1
at_gateway POST jazz-night/doubtful/capture
eventually drained workers posting settlement

# Confirmations that a worker was given, and died before it had looked at them: it is frozen while it waits for work.
freeze gateway
send --type pay --event jazz-night --order late-pay
send --type pay --event kabuki --order late-pay
eventually has_pending workers 2
freeze back-1
thaw gateway
eventually is jazz-night/late-pay confirmed
eventually is kabuki/late-pay confirmed
if ! has_pending posting 2 || ! has_pending settlement 2; then
	fail "the machine was too slow: run it again"
fi >/dev/null
murder back-1

# Facts that nobody was given yet.
buy --event jazz-night --customer fred --order not-read
buy --event kabuki --customer yuki --order not-read
HOLDFAST_TOKEN=decline_fake buy --event "$gala" --customer poor --order declined-2
buy --event "$gala" --customer fickle --order cancelled-unposted
cancel "$gala/cancelled-unposted"
cancel jazz-night/cancelled-later

# Requests in the hands of a worker that died, and of one that handed them back.
freeze gateway
send --event jazz-night --customer amy --quantity 2 --order in-hand
send --event kabuki --customer amy --order in-hand
send --type pay --event opera --order pay-without-hold
eventually has_pending workers 3
murder front-1
start front-2 --roles purchase --grace 1s --reclaim-after 60s
send --event opera --customer handed.back --section stalls --order handed-back
eventually in_hand_of front-2 workers
stop front-2
thaw gateway
authorize jazz-night/in-hand 2000 EUR amy
authorize kabuki/in-hand 4500 JPY amy
authorize opera/handed-back 9000 EUR handed.back

# Requests that nobody was given yet.
"$holdfast" publish --file - >/dev/null <<'REQUESTS'
{"type":"purchase","event_id":"jazz-night","order_id":"in-line","customer_id":"hank","quantity":2,"payment_token":"tok_fake","unit_price":1000,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
{"type":"hold","event_id":"opera","order_id":"in-line","customer_id":"hank","section":"gallery","quantity":1,"hold_seconds":600,"valid_seconds":60}
{"type":"pay","event_id":"opera","order_id":"in-line","payment_token":"tok_fake","valid_seconds":60}
{"type":"cancel","event_id":"kabuki","order_id":"cart-1"}
REQUESTS
raw "$jazz" v 1 type purchase event_id jazz-night order_id in-line-more customer_id ida quantity 1 payment_token tok_fake \
	note 'a field that nobody knows'

curl -sS -f "$gateway/ledger" >"$into/books.jsonl"
murder gateway
eventually nobody_alive
eventually no_turns
redis BGREWRITEAOF >/dev/null
rewritten() { ls "$home"/made/appendonlydir/*.2.base.aof; }
eventually rewritten
murder redis
# Every time of today is moved back, so that it is long past on any machine, whatever its clock says.
today=$(date +%s)000
perl -pe 's/(?<!\d)(\d{13})(?!\d)/abs($1 - '"$today"') < 86_400_000 * 2 ? $1 - 100_000_000_000 : $1/ge' \
	"$home"/made/appendonlydir/*.2.base.aof >"$into/appendonly.aof"

# What the program prints about it, on a Redis that has loaded the file.
cp "$into/appendonly.aof" "$home/again"
start_redis "$home/again"
show() {
	echo "\$ holdfast $* -o json"
	"$holdfast" "$@"
}
{
	show init
	show events list
	show events show opera
	show events show "$gala"
	show sales
	show sales kabuki
	show orders list
	show orders list --event opera
	show orders list --state held
	"$holdfast" orders list | jq -r '.event_id + "/" + .order_id' | while read -r ref; do show orders show "$ref"; done
	redis --scan --pattern 'holdfast:invoices:{*}' | sed 's/.*{\(.*\)}/\1/' | sort | while read -r customer; do
		show invoices "$customer"
	done
	show pending
	show dead list
	"$holdfast" dead list | jq -r .dead_id | while read -r id; do show dead show "$id"; done
	show audit
} >"$into/printed.txt"
murder redis
