#!/bin/sh
# Makes sure that redis-server 7.0 or later and redis-cli are there, for the tests.
# Installs them with the machine's package manager if they are not.
set -eu
. "$(dirname "$0")/packages.sh"

new_enough() {
	command -v redis-server >/dev/null 2>&1 && command -v redis-cli >/dev/null 2>&1 || return 1
	major=$(redis-server --version | sed -n 's/.*v=\([0-9]*\)\..*/\1/p')
	[ "${major:-0}" -ge 7 ]
}

new_enough && exit 0
install redis-server "redis-server redis-tools" redis redis redis
new_enough || {
	echo "no redis-server 7.0 or later here, and no way found to install one: install it, then run again" >&2
	exit 1
}
