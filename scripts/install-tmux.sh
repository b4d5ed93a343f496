#!/bin/sh
# Makes sure that tmux is there, for the test of "holdfast top" in a terminal. Installs it with the machine's package manager if it
# is not. Where it cannot be had, this says so, and that test is skipped.
set -eu
. "$(dirname "$0")/packages.sh"

command -v tmux >/dev/null 2>&1 && exit 0
install tmux tmux tmux tmux tmux
command -v tmux >/dev/null 2>&1 || echo '!!! TMUX CANNOT BE HAD HERE: top IS NOT TESTED IN A TERMINAL. Install tmux, then run again.' >&2
