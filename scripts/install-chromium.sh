#!/bin/sh
# Makes sure that Chromium and Node are there, for the test of the console in a browser. Installs what is missing with the machine's
# package manager. Where they cannot be had, this says so, and that test is skipped.
set -eu
. "$(dirname "$0")/packages.sh"

there() { command -v chromium >/dev/null 2>&1 && command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; }

there && exit 0
# What Node there is stays: packages of it from elsewhere bring npm themselves, and conflict with the distribution's.
node='nodejs npm'
command -v npm >/dev/null 2>&1 && node=
install chromium "chromium $node" "chromium $node" "chromium $node" || true
there || echo '!!! CHROMIUM AND NODE CANNOT BE HAD HERE: THE CONSOLE IS NOT TESTED IN A BROWSER. Install chromium, node and npm, then run again.' >&2
