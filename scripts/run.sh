#!/usr/bin/env bash
# Serves examples/site with cornac behind nginx on 127.0.0.1:8080 until Ctrl-C, then removes every trace of it.
# Works as root (the pool runs as www-data) and as an ordinary user.
#   PORT=8080                                another port
#   CORNAC_BIN=target/release/cornac         another binary with php-fpm's command line, php-fpm itself for instance
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
port=${PORT:-8080}
binary=${CORNAC_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/cornac}
patience=10 # seconds to start, and again to stop

fail() { printf '%s\n' "$@" >&2; exit 1; }

# --- the run folder --------------------------------------------------------------------------------------

# Not under the checkout: a pool user must be able to go there, and a socket's path must be short.
make_run_folder() {
    run=$(mktemp -d "${TMPDIR:-/tmp}/cornac-run.XXXXXX")
    mkdir "$run/log" "$run/nginx" "$run/tmp"
    chmod 755 "$run"
    user=www-data
    id -u "$user" >/dev/null 2>&1 || user=nobody
    if [[ $EUID == 0 ]]; then chown "$user:" "$run/tmp"; fi
    ln -s "$(realpath "$binary")" "$run/php-fpm" # called by this name, cornac takes php-fpm's command line
}

# Straight from the checkout, so that an edited page shows at once, unless the pool user cannot read it there.
choose_site() {
    site=$root/examples/site
    [[ $EUID != 0 ]] && return
    setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups test -r "$site/index.php" && return
    cp -r "$site" "$run/site"
    chmod -R u+rwX,go+rX "$run/site"
    site=$run/site
    note="$user cannot read $root: serving a copy"
}

fill_in() { # NAME COMMENT-SIGN
    local comment=$2
    if [[ $EUID == 0 ]]; then comment=; fi
    sed -e "s|@RUN@|$run|g; s|@SITE@|$site|g; s|@PORT@|$port|g; s|@USER@|$user|g; s|@AS_ROOT@|$comment|" \
        "$root/examples/$1" >"$run/$1"
}

# --- the two servers -------------------------------------------------------------------------------------

# In a session of its own, so that Ctrl-C reaches this script alone, which then stops both in order; and with a
# signal at this script's death, so that not even `kill -9` leaves a server behind.
start() { # LOG COMMAND…
    local log=$1
    shift
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null >>"$log" 2>&1 &
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

alive() { kill -0 "$1" 2>/dev/null; }

await() { # WHAT COMMAND… : until the command succeeds, as long as both servers live
    local what=$1 deadline=$((SECONDS + patience))
    shift
    until "$@"; do
        report_death
        ((SECONDS < deadline)) || die "$what did not happen within $patience s"
        sleep 0.05
    done
}

first_page_comes() {
    local status
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
    read -r -t "$patience" status <&3 || status='no answer'
    exec 3>&-
    [[ $status == *' 200 '* ]] || die "the first page did not come: ${status%$'\r'}"
}

report_death() {
    [[ -z $fpm ]] || alive "$fpm" || die "${binary##*/} has ended"
    [[ -z $nginx ]] || alive "$nginx" || die "nginx has ended"
}

die() {
    local log logged=
    for log in "$run"/log/{php-fpm.out,php-fpm.log,php-errors.log,nginx.log}; do
        [[ -s $log ]] && logged+=$(printf '\n' && tail -n 15 "$log" | sed "s|^|  ${log##*/}: |")
    done
    echo "$*${logged:+. The last log lines:}$logged" >&2
    exit 1
}

# --- the end ---------------------------------------------------------------------------------------------

stop() {
    trap '' INT TERM HUP
    local pid deadline=$((SECONDS + patience))
    for pid in $nginx $fpm; do kill -QUIT "$pid" 2>/dev/null || true; done
    for pid in $nginx $fpm; do
        while alive "$pid" && ((SECONDS < deadline)); do sleep 0.05; done
        kill -KILL -- "-$pid" 2>/dev/null || true # the session: also what a killed master left behind
    done
    wait
    rm -rf "$run"
}

run='' nginx='' fpm='' note=''

[[ -x $binary ]] || fail "$binary is not there; build it (cargo build --release) or use make run"
command -v nginx >/dev/null || fail "nginx is not installed; use make run"
if port_answers; then fail "port $port is in use; choose another one: make run PORT=8081"; fi

trap stop EXIT
trap 'echo; echo "stopping"; exit 0' INT TERM HUP

make_run_folder
choose_site
fill_in php-fpm.conf ';'
fill_in nginx.conf '#'

start "$run/log/php-fpm.out" "$run/php-fpm" -F -O -y "$run/php-fpm.conf"
fpm=$!
await "the start of ${binary##*/}" test -S "$run/php-fpm.sock"
start "$run/log/nginx.log" nginx -e "$run/log/nginx.log" -p "$run/" -c "$run/nginx.conf"
nginx=$!
await "the start of nginx" port_answers
first_page_comes

php=$("$run/php-fpm" -v 2>/dev/null | head -n1 | cut -d' ' -f1-2)
if [[ ${binary##*/} == cornac ]]; then php="$("$binary" --version) with $php"; fi
echo "$php serves the example site on"
echo "    http://127.0.0.1:$port/"
echo "logs: $run/log    stop: Ctrl-C"
if [[ $note ]]; then echo "$note"; fi

wait -n "$fpm" "$nginx" 2>/dev/null || true
report_death
