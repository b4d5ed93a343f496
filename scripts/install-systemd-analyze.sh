#!/bin/sh
# Makes sure that systemd-analyze is there, for the test of the systemd unit. Installs it with the machine's package manager if it is
# not; nothing is started. Where it cannot be had, this says so, and that test is skipped.
set -eu
. "$(dirname "$0")/packages.sh"

command -v systemd-analyze >/dev/null 2>&1 && exit 0
install systemd-analyze systemd systemd systemd || true
command -v systemd-analyze >/dev/null 2>&1 || echo '!!! SYSTEMD-ANALYZE CANNOT BE HAD HERE: THE SYSTEMD UNIT IS NOT TESTED. Install it, then run again.' >&2
