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

# unpack SUITES INTO PACKAGE...: Debian packages, and with NEEDS=1 all that they need, unpacked beside the machine's own: nothing of
# the machine is changed, and root is not needed. With apt-get, into a directory of its own, which is there only if all went well.
unpack() {
	suites=$1 into=$2
	shift 2
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1 || [ ! -f "$keyring" ]; then
		echo "no apt-get, dpkg-deb and $keyring here to fetch $* of Debian $suites with" >&2
		return 1
	fi
	root=$(mktemp -d) || return 1
	if fetch "$@" >"$root/log" 2>&1; then
		rm -rf "$into" && mkdir -p "$(dirname "$into")" && mv "$root/unpacked" "$into"
		rm -rf "$root"
	else
		tail -n 5 "$root/log" >&2
		rm -rf "$root"
		return 1
	fi
}

fetch() {
	mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/state" "$root/unpacked" "$root/debs"
	: >"$root/status"
	chmod 755 "$root"
	for suite in $suites; do
		echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main"
	done >"$root/sources.list"
	apt="apt-get -q -y -o Dir::Etc::sourcelist=$root/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
		-o Dir::State=$root/state -o Dir::State::lists=$root/lists -o Dir::State::status=$root/status -o Dir::Cache=$root/cache
		-o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30"
	# shellcheck disable=SC2086 # a list of words
	$apt update || return 1
	if [ -n "${NEEDS-}" ]; then
		# shellcheck disable=SC2086
		$apt install --no-install-recommends --download-only "$@" || return 1
		mv "$root"/cache/archives/*.deb "$root/debs" || return 1
	else
		# shellcheck disable=SC2086
		(cd "$root/debs" && $apt download "$@") || return 1
	fi
	for deb in "$root"/debs/*.deb; do
		dpkg-deb -x "$deb" "$root/unpacked" || return 1
	done
}
