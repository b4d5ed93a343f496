#!/bin/sh
# Runs a slice of the tests on each server that holdfast is said to run on: scripts, groups, the users, the demo, the audit, and
# workers and the server killed. The servers are Debian's, each unpacked in .tools/servers with all that it needs, its libc too: nothing of the machine
# is changed. One that cannot be had is named at the end, and fails the run: it was not tested.
#
#   SERVERS="redis-8.0 valkey-8.1" scripts/test-servers.sh       only some
set -u
cd "$(dirname "$0")/.."
. scripts/packages.sh

get() { # NAME, SUITES, KIND: redis or valkey
	dir=$PWD/.tools/servers/$1
	[ -x "$dir/bin/redis-server" ] && return 0
	NEEDS=1 unpack "$2" "$dir" "$3-server" "$3-tools" || return 1
	mkdir -p "$dir/bin"
	# Through its own loader and libraries: the machine's may be older.
	loader=$(find "$dir" -name 'ld-linux*.so.*' | head -n 1)
	libraries=$(find "$dir" -name '*.so*' -type f -exec dirname {} + | sort -u | paste -sd :)
	for program in server cli; do
		printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s/usr/bin/%s-%s" "$@"\n' "$loader" "$libraries" "$dir" "$3" "$program" >"$dir/bin/redis-$program"
		chmod +x "$dir/bin/redis-$program"
	done
}

slice() { # to its end, whatever fails
	bad=0
	run ./streams '^Test(Hold|Move|Resolve|Cancel|Expire|Owe|TakeOwed|Post|ScriptFlush|ScriptsReadThenWrite|LostGroups|FlushAll|ReadAndOwn|KeepAlive|HandBack|Reclaim|Trim|DeadLetter|ForgetConsumers|OutOfMemory|Restart|Servers|Forbidden|NewBranch|Verify|MaxWaiting)'
	run ./streams/inspect .
	run ./streams/audit .
	run ./cmd/holdfast '^Test(ShippedUsers|MetricsOfASale|ListenThroughAnOutage|Check)'
	run ./e2e '^Test(TortureKilledWorkers|TortureRedisRestarts)$'
	demo || bad=1
	return "$bad"
}

run() { # PACKAGE, TESTS
	go test -count 1 -timeout 15m "$1" -run "$2" || bad=1
}

demo() {
	dir=$(mktemp -d) port=16399
	redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' >"$dir/log" 2>&1 &
	pid=$!
	go run ./cmd/holdfast demo --redis "redis://127.0.0.1:$port/0" >"$dir/demo" 2>&1
	status=$?
	kill "$pid"
	wait "$pid"
	[ "$status" -eq 0 ] && echo "ok  	the demo" || cat "$dir/log" "$dir/demo"
	rm -rf "$dir"
	return "$status"
}

failed=""
for server in ${SERVERS:-redis-7.0 redis-8.0 valkey-8.0 valkey-8.1}; do
	case $server in
	redis-7.0) suites=bookworm kind=redis ;;
	redis-8.0) suites=trixie kind=redis ;;
	valkey-8.0) suites="bookworm bookworm-backports" kind=valkey ;;
	valkey-8.1) suites=trixie kind=valkey ;;
	*)
		echo "no server $server" >&2
		exit 2
		;;
	esac
	if ! get "$server" "$suites" "$kind"; then
		echo "!!! $server cannot be had here: it was not tested"
		failed="$failed $server"
		continue
	fi
	echo "=== $server: $(".tools/servers/$server/bin/redis-server" --version)"
	(PATH="$PWD/.tools/servers/$server/bin:$PATH" && export PATH && slice) || failed="$failed $server"
done
[ -z "$failed" ] || {
	echo "!!! not passed:$failed" >&2
	exit 1
}
