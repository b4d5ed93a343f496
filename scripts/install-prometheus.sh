#!/bin/sh
# Makes sure that promtool and prometheus are there, for the tests of the alerts and the dashboard. If the machine has none, those of
# Debian are unpacked in .tools/prometheus: nothing of the machine is changed, no service is started. Where they cannot be had, this
# says so, and the tests that need them are skipped: the rules are not to blame.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1 && exit 0
.tools/prometheus/usr/bin/promtool --version >/dev/null 2>&1 && exit 0
echo "fetching prometheus" >&2
unpack bookworm .tools/prometheus prometheus && .tools/prometheus/usr/bin/promtool --version >/dev/null 2>&1 || {
	echo '!!! PROMETHEUS CANNOT BE HAD HERE: THE ALERTS ARE NOT TESTED. Install promtool and prometheus, then run again.' >&2
	exit 0
}
