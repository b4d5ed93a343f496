#!/bin/sh
# Makes sure that there is a C compiler that works, for the race detector: the one that Go uses.
# Installs gcc with the machine's package manager if there is none.
set -eu
. "$(dirname "$0")/packages.sh"

program=$(mktemp)
trap 'rm -f "$program"' EXIT

compiles() {
	# shellcheck disable=SC2046 # it may have flags
	printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' | $(go env CC) -x c - -o "$program" >/dev/null 2>&1
}

compiles && exit 0
install "a C compiler" "gcc libc6-dev" "gcc glibc-devel" "gcc musl-dev"
compiles || {
	echo "no C compiler here that works ($(go env CC)), and no way found to install one: install it, then run again" >&2
	exit 1
}
