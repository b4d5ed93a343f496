#!/bin/sh
# Makes sure that redis-server 7.0 or later and redis-cli are there, for the tests.
# Installs them with the machine's package manager if they are not.
set -eu

new_enough() {
	command -v redis-server >/dev/null 2>&1 && command -v redis-cli >/dev/null 2>&1 || return 1
	major=$(redis-server --version | sed -n 's/.*v=\([0-9]*\)\..*/\1/p')
	[ "${major:-0}" -ge 7 ]
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "installing redis-server needs root: run as root, or install redis-server 7.0 or later yourself" >&2
		exit 1
	fi
}

new_enough && exit 0
echo "installing redis-server" >&2
if command -v apt-get >/dev/null 2>&1; then
	as_root apt-get update -q >/dev/null
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server redis-tools >/dev/null
elif command -v dnf >/dev/null 2>&1; then
	as_root dnf install -y -q redis
elif command -v apk >/dev/null 2>&1; then
	as_root apk add --quiet redis
elif command -v brew >/dev/null 2>&1; then
	brew install --quiet redis
fi
new_enough || {
	echo "no redis-server 7.0 or later here, and no way found to install one: install it, then run again" >&2
	exit 1
}
