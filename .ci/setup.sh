#!/bin/sh
# Makes sure that a build can start: the Debian packages it needs and a Swift toolchain of the right age.
#
#   .ci/setup.sh build|test
#
# Missing packages are installed where that is allowed (root, or sudo without a password); otherwise the command to
# run is printed. Ends with 69 when something is missing that it cannot provide.
set -eu

packages="libffi-dev libjson-c-dev libdnnl-dev libpcre2-dev libutf8proc-dev pkg-config binutils"
[ "${1:-build}" = test ] && packages="$packages clang-format cmake tcc valgrind"
swift=${SWIFT:-swift}
oldest=6.3

fail() {
    printf 'error[setup]: %s\n  fix: %s\n' "$1" "$2" >&2
    exit 69
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

if command -v dpkg-query >/dev/null; then
    missing=
    for package in $packages; do
        is_installed "$package" || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        if [ "$(id -u)" = 0 ]; then
            root=
        elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            root="sudo -n"
        else
            fail "these Debian packages are missing:$missing" "as root, run: apt-get install$missing"
        fi
        echo "installing$missing" >&2
        install="$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
        # The package lists of a fresh machine may be empty or old.
        # shellcheck disable=SC2086
        if ! $install $missing >/dev/null 2>&1; then
            $root apt-get update -q >&2 || fail "apt-get update failed" "check the network and /etc/apt/sources.list"
            $install $missing >&2 || fail "cannot install$missing" "run: apt-get install$missing"
        fi
    fi
else
    for library in json-c libpcre2-8; do
        pkg-config --exists "$library" 2>/dev/null ||
            fail "$library is missing, and this is no Debian system" "install the libraries of: $packages"
    done
fi

command -v "$swift" >/dev/null ||
    fail "there is no Swift compiler" "install Swift $oldest or newer from https://swift.org/install, or set SWIFT"
version=$("$swift" --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
[ -n "$version" ] || fail "$swift does not say its version" "check that $swift --version works"
first=$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)
[ "$first" = "$oldest" ] || fail "Swift $version is too old" "install Swift $oldest or newer from https://swift.org/install"
