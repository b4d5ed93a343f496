#!/bin/sh
# Makes sure that rsvg-convert and a font of one width are there, for the pictures of the documentation. Installs them with the
# machine's package manager if they are not.
set -eu
. "$(dirname "$0")/packages.sh"

command -v rsvg-convert >/dev/null 2>&1 && exit 0
install rsvg-convert "librsvg2-bin fonts-dejavu-core" "librsvg2-tools dejavu-sans-mono-fonts" "rsvg-convert font-dejavu" librsvg
