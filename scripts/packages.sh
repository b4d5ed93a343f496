# What the scripts that install something have in common. To be sourced by a POSIX shell.

as_root() { # a command
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "installing needs root: run as root, or install by hand what is missing" >&2
		exit 1
	fi
}

# install WHAT APT DNF APK [BREW]: with the package manager of the machine, each with its own names for it.
install() {
	echo "installing $1" >&2
	if command -v apt-get >/dev/null 2>&1; then
		as_root apt-get update -q >/dev/null
		# shellcheck disable=SC2086 # a list of names
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2 >/dev/null
	elif command -v dnf >/dev/null 2>&1; then
		# shellcheck disable=SC2086
		as_root dnf install -y -q $3
	elif command -v apk >/dev/null 2>&1; then
		# shellcheck disable=SC2086
		as_root apk add --quiet $4
	elif [ -n "${5-}" ] && command -v brew >/dev/null 2>&1; then
		# shellcheck disable=SC2086
		brew install --quiet $5
	fi
}
