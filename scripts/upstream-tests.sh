#!/usr/bin/env bash
# Runs php-src's own tests of php-fpm (sapi/fpm/tests) against cornac, or against any other binary for comparison:
#
#   scripts/upstream-tests.sh PHP_SRC_DIR [-b BINARY] [-u USER] [-k] [TEST.phpt …]
#
# PHP_SRC_DIR is a checkout or unpacked tarball of php-src, of the minor version that is installed; it is only read.
# BINARY is target/debug/cornac unless given (`-b /usr/sbin/php-fpm8.2` shows what passes on this machine at all).
# As root the tests run as root, or as USER. -k keeps the folder with the tests' output. A network namespace of its own
# keeps the tests' fixed ports apart from everything else, where that is allowed.
#
# What needs pcntl, zend_test or dl_test in the server is skipped unless FPM_EXTENSIONS names a folder with these
# modules, built with phpize from PHP_SRC_DIR/ext.
set -euo pipefail

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "upstream-tests: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
[[ $# -ge 1 && $1 != -* ]] || usage
source=$(cd "$1" && pwd)
shift
binary=$root/target/debug/cornac user='' keep=''
while getopts b:u:k option; do
    case $option in
        b) binary=$(readlink -f "$OPTARG") ;;
        u) user=$OPTARG ;;
        k) keep=yes ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ -e $source/sapi/fpm/tests/tester.inc && -e $source/run-tests.php ]] || fail "$source is no php-src"
[[ -x $binary ]] || fail "$binary: run cargo build first"
php=$(command -v php8.2 || command -v php) || fail "no php command"

# The layout in which the tests look for their binary: sapi/cli/php, and beside it sapi/fpm/php-fpm.
work=$(mktemp -d /tmp/fpm-tests-XXXXXX)
leave() { [[ -n $keep ]] && echo "kept: $work" || rm -rf "$work"; }
trap leave EXIT
mkdir -p "$work"/sapi/{cli,fpm} "$work/bin" "$work/tmp"
cp -r "$source/sapi/fpm/tests" "$work/sapi/fpm/tests"
cp "$source/run-tests.php" "$work/"
ln -s "$source/ext" "$work/ext"
cp "$binary" "$work/bin/php-fpm"
# The engine is found beside the binary; the ordinary user may have no way to the checkout.
cp "$(dirname "$binary")"/*cornac*engine*.so "$work/bin/" 2>/dev/null || true
# A test that reads an empty pid file signals its whole process group.
cat >"$work/sapi/cli/php" <<END
#!/usr/bin/perl
setpgrp; exec { "$php" } \$0, @ARGV;
END
# The tests expect X-Powered-By, which Debian's php.ini turns off. (perl keeps the environment's order, a shell does not.)
cat >"$work/sapi/fpm/php-fpm" <<END
#!/usr/bin/perl
exec { "$work/bin/php-fpm" } \$0, "-d", "expose_php=1", @ARGV;
END
chmod 755 "$work" "$work/sapi/cli/php" "$work/sapi/fpm/php-fpm"

export TMPDIR=$work/tmp NO_INTERACTION=1 FPM_RUN_RESOURCE_HEAVY_TESTS=1 RUN_RESOURCE_HEAVY_TESTS=1
options=(-q -g 'FAIL,SKIP,WARN,BORK' --set-timeout 60 -p "$work/sapi/cli/php")
if [[ -n ${FPM_EXTENSIONS:-} ]]; then
    mkdir "$work/modules"
    ln -s "$("$php" -r 'echo PHP_EXTENSION_DIR;')"/*.so "$(readlink -f "$FPM_EXTENSIONS")"/*.so "$work/modules/"
    export TEST_FPM_EXTENSION_DIR=$work/modules
    options+=(-d "extension_dir=$work/modules")
fi
tests=("${@/#/$work/sapi/fpm/tests/}")
[[ $# -gt 0 ]] || tests=("$work/sapi/fpm/tests")

run=()
if unshare -n true 2>/dev/null; then
    run+=(unshare -n sh -c 'ip link set lo up; exec "$@"' -)
else
    echo 'upstream-tests: no network of its own for this user; ports 9008 and following have to be free'
fi
if [[ $(id -u) == 0 && -n $user ]]; then
    chown -R "$user" "$work"
    run+=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups)
elif [[ $(id -u) == 0 ]]; then
    export TEST_FPM_RUN_AS_ROOT=1
fi
cd "$work"
"${run[@]}" "$php" run-tests.php "${options[@]}" "${tests[@]}"
