#!/usr/bin/env bash
# Checks what the program calls, Go's standard library included, against Go's vulnerability database, and fails if any
# of it is vulnerable: vuln.sh GOVULNCHECK
#
# The database is the newest golang.org/x/vulndb that the module proxy has: it comes the way everything else comes that
# is built here. If it cannot be had, nothing is checked: this says so, and does not fail, because the code is not to blame.
set -euo pipefail
cd "$(dirname "$0")/.."

govulncheck=$1
elsewhere=$(mktemp -d) # not in this module, whose go.sum is none of the database's business
trap 'rm -rf "$elsewhere"' EXIT
if ! answer=$(cd "$elsewhere" && go mod download -json golang.org/x/vulndb@latest); then
	printf '%s\n' "$answer" \
		'!!! THE VULNERABILITY DATABASE CANNOT BE REACHED: NOTHING WAS CHECKED.' \
		'!!! Run "make vuln" again where a Go module proxy answers.' >&2
	exit 0
fi
value() { sed -n "s/^\t\"$1\": \"\(.*\)\",*\$/\1/p" <<<"$answer"; }
echo "checking against golang.org/x/vulndb $(value Version)"

# With the toolchain that go.mod names, or a newer one: the standard library that is checked is that one's.
export GOTOOLCHAIN=auto
"$govulncheck" -db "file://$(value Dir)/data/osv" ./...
