#!/usr/bin/env bash
# Installs what `make run|test|bench|lint` needs and this system lacks (Debian, Ubuntu), and says so.
# Never starts or enables a service, never touches an existing configuration file, and calls no package
# manager when nothing is missing.
set -euo pipefail

purpose=${1:-}
case $purpose in
    run | test | bench | lint) ;;
    *) echo "usage: scripts/setup.sh run|test|bench|lint" >&2; exit 2 ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin # where nginx and php-fpm are; an ordinary user's PATH lacks them
export DEBIAN_FRONTEND=noninteractive

say() { echo "setup: $*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
has() { command -v "$1" >/dev/null; }

# --- what is missing -------------------------------------------------------------------------------------

missing=() # packages
need() { # PACKAGE when the command after it fails
    local package=$1
    shift
    "$@" || missing+=("$package")
}

# The engine is built for the PHP that php-config speaks of; without one, for the distribution's.
php_version() {
    if has "${PHP_CONFIG:-php-config}"; then
        "${PHP_CONFIG:-php-config}" --version | cut -d. -f1,2
    elif has apt-cache; then
        apt-cache depends php-fpm 2>/dev/null | sed -n 's/.*Depends: php\([0-9.]*\)-fpm$/\1/p' | head -n1
    fi
}

list_missing() {
    missing=()
    need gcc has cc
    need libc6-dev test -e /usr/include/stdio.h
    need ca-certificates has_certificates
    php=$(php_version)
    need "php$php-dev" has "${PHP_CONFIG:-php-config}"
    [[ $purpose == lint ]] && return
    need "php$php-fpm" has "php-fpm$php"
    need nginx has nginx
    if [[ $purpose == bench ]]; then
        need strace has strace
        return
    fi
    [[ $purpose == run ]] && return
    need "php$php-cli" has "php$php"
    need "php$php-cgi" has "php-cgi$php"
    need "php$php-xml" has_extension xml
    need libfcgi-bin has cgi-fcgi
    need procps has ps
    need acl has setfacl
    need iproute2 has ss
    need groff-base has groff
    need logrotate has logrotate
    need systemd has systemd-socket-activate
}

# Without them cargo cannot download crates.
has_certificates() { [[ -e /etc/ssl/certs/ca-certificates.crt || -n ${SSL_CERT_FILE:-} || -d /etc/pki/tls ]]; }

has_extension() { compgen -G "/etc/php/$php/*/conf.d/*-$1.ini" >/dev/null; }

# --- installing ------------------------------------------------------------------------------------------

policy=/usr/sbin/policy-rc.d

# Debian's packages start their services as they are installed, unless this script answers 101.
forbid_services() {
    if [[ -x $policy ]] && ! "$policy" nginx start >/dev/null 2>&1; then return; fi
    trap allow_services EXIT
    trap 'exit 130' INT TERM HUP
    if [[ -e $policy || -L $policy ]]; then as_root mv "$policy" "$policy.before-cornac"; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

allow_services() {
    as_root rm -f "$policy"
    if [[ -e $policy.before-cornac || -L $policy.before-cornac ]]; then as_root mv "$policy.before-cornac" "$policy"; fi
    trap - EXIT INT TERM HUP
}

as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo "$@"; fi
}

# root, or sudo that either asks nothing or has a terminal to ask on.
can_install() {
    [[ $EUID == 0 ]] && return
    has sudo && { [[ -t 0 && -t 2 ]] || sudo -n true 2>/dev/null; }
}

by_hand() {
    fail "missing: ${missing[*]}" "neither root nor sudo here; please type as root:" \
        "    apt-get update && apt-get install --no-install-recommends ${missing[*]}"
}

refresh_lists() {
    say "refreshing the package lists (apt-get update)"
    as_root apt-get -qq update || say "apt-get update failed; going on with the lists that are there"
}

install_missing() {
    has apt-get || fail "missing: ${missing[*]} (Debian's names), and no apt-get to install them"
    can_install || by_hand
    refresh_lists
    list_missing # only now does a fresh system know its PHP version
    say "installing ${missing[*]}"
    say "no service is started meanwhile ($policy answers no until it is done)"
    forbid_services
    local log
    log=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        install --yes --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
        fail "apt-get could not install ${missing[*]}:" "$(tail -n 20 "$log")" "all of its output: $log"
    rm -f "$log"
    allow_services
    disable_installed
    list_missing
    [[ ${#missing[@]} == 0 ]] || fail "installed, but still not found: ${missing[*]}"
}

# A service that we brought would come up at the next boot and take port 80.
disable_installed() {
    has systemctl || return 0
    local package
    for package in "${missing[@]}"; do
        case $package in
            nginx | php*-fpm)
                say "not enabling $package at boot (systemctl disable $package)"
                as_root systemctl disable --quiet "$package" 2>/dev/null || true
                ;;
        esac
    done
}

# --- what does not come from apt-get install -------------------------------------------------------------

check_rust() {
    has cargo || fail "cargo is not installed; see https://rustup.rs"
    [[ $purpose == lint ]] || return 0
    local part
    for part in fmt clippy; do
        cargo "$part" --version >/dev/null 2>&1 && continue
        has rustup || fail "cargo $part is not installed"
        say "adding the Rust component for cargo $part"
        rustup --quiet component add "${part/#fmt/rustfmt}"
    done
}

# The tests run a real application. Only the files of its packages are wanted: unpacked under target/, nothing
# of them is installed or configured.
dokuwiki=$root/target/dokuwiki

# The package and the libraries in PHP and JavaScript that it depends on, by any distribution's names.
dokuwiki_packages() {
    echo dokuwiki
    apt-cache depends dokuwiki | sed -n 's/^ *|\{0,1\}Depends: \(libjs-.*\|libphp-.*\|php-.*\)$/\1/p'
}

unpack_dokuwiki() {
    [[ -e $dokuwiki/complete ]] && return
    say "unpacking DokuWiki's packages into target/dokuwiki (not installed)"
    rm -rf "$dokuwiki"
    mkdir -p "$dokuwiki/packages"
    download_dokuwiki || { can_install && refresh_lists && download_dokuwiki; } ||
        fail "could not download the package dokuwiki" "are the package lists there? (apt-get update, as root)"
    local package
    for package in "$dokuwiki"/packages/*.deb; do dpkg-deb -x "$package" "$dokuwiki"; done
    rm -rf "$dokuwiki/packages"
    chmod -R u+rwX,go+rX "$dokuwiki"
    touch "$dokuwiki/complete"
}

download_dokuwiki() {
    local sandbox=() packages
    mapfile -t packages < <(dokuwiki_packages)
    if [[ $EUID == 0 ]]; then sandbox=(-o APT::Sandbox::User=root); fi # apt's own user may not see this folder
    (cd "$dokuwiki/packages" && apt-get -qq "${sandbox[@]}" download "${packages[@]}" >/dev/null)
}

check_rust
list_missing
if ((${#missing[@]})); then install_missing; fi
if [[ $purpose == test ]]; then unpack_dokuwiki; fi
