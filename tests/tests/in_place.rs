//! cornac in php-fpm's place: `/usr/sbin/php-fpm8.2` is a link to it, and what distributions and scripts start is that
//! name. php-fpm itself lies beside it under the name `dpkg-divert` gives, or is gone. Only as root: each run has its own
//! /usr/sbin.

use std::collections::BTreeSet;

use cornac_tests::processes::Process;
use cornac_tests::{Server, Setup, Side, binary, compare_runs, skip_unless_root};
use nix::sys::signal::Signal;

/// `$1`: what of php-fpm stays. For php-fpm's own side (which cannot be its own place-taker) nothing is changed.
const ENTER: &str = r#"set -e
keep=$1 link=$2; shift 2
subject=$(readlink -f "$link") place=/usr/sbin/php-fpm8.2 sbin=$(dirname "$link")/sbin
if [ "$subject" != "$place" ]; then
    mkdir "$sbin"
    if [ "$keep" = beside ]; then cp "$place" "$sbin/php-fpm8.2.distrib"; fi
    ln -s "$subject" "$sbin/php-fpm8.2"
    mount --bind "$sbin" /usr/sbin
fi
exec "$place" "$@""#;

fn placed(setup: Setup, keep: &str) -> Setup {
    setup.wrapped(&["unshare", "--mount", "sh", "-c", ENTER, "sh", keep])
}

/// Version, and modules but pcntl, which the other executables of Debian have compiled in.
fn words_of_php(side: Side, keep: &str) -> String {
    let answer = |word: &str| {
        let server = Server::launch(side, &placed(Setup::new().arg(word), keep));
        let code = server.wait_exit();
        format!("{code}\n{}{}", server.stdout(), server.stderr())
    };
    format!("{}\n{}", answer("-v"), answer("-m")).replace("pcntl\n", "")
}

/// The ini files PHP reads where the environment names some; an empty part of PHP_INI_SCAN_DIR is the usual folder.
fn ini_files(side: Side, keep: &str) -> String {
    let setup =
        Setup::new().arg("-i").file("ini/php.ini", "precision = 7\n").file("scan/a.ini", "precision = 9\n");
    let shown = |setup: Setup| {
        let server = Server::launch(side, &placed(setup, keep));
        let code = server.wait_exit();
        // "Configuration File (php.ini) Path" shows what is compiled into the host, where nothing is read; "Scan this dir"
        // shows the usual folder written out.
        let shown = |line: &str| line.starts_with("Loaded Conf") || line.starts_with("precision");
        let wanted = |line: &&str| {
            shown(line)
                || line.contains(".ini")
                    && !["Configuration", "Scan this"].iter().any(|word| line.starts_with(word))
        };
        let text = server.stdout().replace(&*server.dir().to_string_lossy(), "{dir}");
        format!("{code}\n{}", text.lines().filter(wanted).collect::<Vec<_>>().join("\n"))
    };
    let rc = shown(setup.clone().env("PHPRC", "{dir}/ini"));
    let file = shown(setup.clone().env("PHPRC", "{dir}/ini/php.ini").env("PHP_INI_SCAN_DIR", ""));
    let empty = shown(setup.clone().env("PHPRC", "{dir}/nothing"));
    let scan = shown(setup.env("PHP_INI_SCAN_DIR", ":{dir}/scan"));
    [rc, file, empty, scan].join("\n\n")
}

/// What `start-stop-daemon --name`, `pidof`, `ps -C` and process exporters know the processes by.
fn names(server: &Server) -> BTreeSet<String> {
    let name = |process: Process| std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).ok();
    server.processes().into_iter().filter_map(name).collect()
}

fn serves(side: Side, keep: &str) -> String {
    let page = "<?php echo PHP_SAPI, ' ', PHP_VERSION, ' ', php_ini_loaded_file(), ' ', \
        (int) function_exists('pcntl_fork'), ' ', basename($_SERVER['SCRIPT_NAME']);";
    let server = Server::start(side, &placed(Setup::new().script("x.php", page), keep));
    let before = (server.get("/x.php").to_text(), names(&server));
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    let after = (server.get("/x.php").to_text(), names(&server));
    format!("{before:#?}\n{after:#?}")
}

#[test]
fn php_fpm_in_another_place() {
    let installed_elsewhere = binary::reference() != std::path::Path::new("/usr/sbin/php-fpm8.2");
    if skip_unless_root("cornac in php-fpm's place", 6) || installed_elsewhere {
        return;
    }
    for keep in ["beside", "gone"] {
        compare_runs(&format!("PHP's answers, php-fpm {keep}"), None, |side| words_of_php(side, keep));
        compare_runs(&format!("ini files, php-fpm {keep}"), None, |side| ini_files(side, keep));
        compare_runs(&format!("a page, php-fpm {keep}"), None, |side| serves(side, keep));
    }
}
