#!/usr/bin/env bash
# Fuzzes every target of every package for FUZZTIME each (default 1m), and keeps of what was found
# interesting the smallest inputs, as seeds that "go test" runs from then on. What fails, go test
# keeps itself, in the same place.
set -euo pipefail
cd "$(dirname "$0")/.."

most=50   # seeds of a target
bytes=2048 # of a seed
cache=$(go env GOCACHE)/fuzz
failed=0

for package in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		echo "== $package $target"
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" || failed=1
		found=$cache/$package/$target
		[ -d "$found" ] || continue
		seeds=$(go list -f '{{.Dir}}' "$package")/testdata/fuzz/$target
		mkdir -p "$seeds"
		room=$((most - $(find "$seeds" -type f | wc -l)))
		[ "$room" -gt 0 ] || continue
		find "$found" -type f -size "-${bytes}c" -printf '%s %p\n' | sort -n | awk -v n="$room" 'NR <= n { print $2 }' |
			xargs -r cp -n -t "$seeds"
	done
done
exit "$failed"
