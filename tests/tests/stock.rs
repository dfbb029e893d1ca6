//! The configurations people have: Debian's, that of the official container image, Fedora's. They start unchanged, but for
//! folders, users and ports where they run beside other tests, and serve.

use std::collections::BTreeSet;

use cornac_tests::compare::mask_volatile;
use cornac_tests::installed::{Installation, Installed};
use cornac_tests::{Client, Pair, Request, Server, Setup, Side, compare_runs, skip_unless_root, wait};
use nix::sys::signal::Signal;

const PAGE: &str = "<?php error_log('from a worker'); echo PHP_SAPI, ' ', getenv('TZ'), ' ', ini_get('log_errors'), ' ', \
    posix_geteuid(), ' ', ini_get('session.save_path'), ' ', getcwd();";

mod debian {
    pub(crate) const MAIN: &str = include_str!("../stock/debian/php-fpm.conf");
    pub(crate) const WWW: &str = include_str!("../stock/debian/www.conf");
}
mod docker {
    pub(crate) const MAIN: &str = include_str!("../stock/docker/php-fpm.conf");
    pub(crate) const DOCKER: &str = include_str!("../stock/docker/docker.conf");
    pub(crate) const WWW: &str = include_str!("../stock/docker/www.conf");
    pub(crate) const ZZ_DOCKER: &str = include_str!("../stock/docker/zz-docker.conf");
}
mod fedora {
    pub(crate) const MAIN: &str = include_str!("../stock/fedora/php-fpm.conf");
    pub(crate) const WWW: &str = include_str!("../stock/fedora/www.conf");
}

/// Folders, users and ports of the test in the place of those of the machine.
fn adapted(text: &str) -> String {
    let replaced = [
        ("/run/php/php8.2-fpm.sock", "{dir}/www.sock"),
        ("/run/php-fpm/www.sock", "{dir}/www.sock"),
        ("/run/php/php8.2-fpm.pid", "{dir}/php-fpm.pid"),
        ("/run/php-fpm/php-fpm.pid", "{dir}/php-fpm.pid"),
        ("/var/log/php8.2-fpm.log", "{dir}/error.log"),
        ("/var/log/php-fpm/error.log", "{dir}/error.log"),
        ("/var/log/php-fpm/", "{dir}/tmp/"),
        ("/etc/php/8.2/fpm/pool.d/", "{dir}/pool.d/"),
        ("/etc/php-fpm.d/", "{dir}/pool.d/"),
        ("= apache,nginx", "= {user},daemon"),
        ("group = apache", "group = {group}"),
        ("group = www-data", "group = {group}"),
        ("= apache", "= {user}"),
        ("= www-data", "= {user}"),
        ("= 9000", "= {port}"),
    ];
    replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn serves(pair: &mut Pair, get: impl Fn(&Server) -> String + Sync) {
    pair.same("page", &get);
    pair.same("another page", &get);
}

#[test]
fn debian() {
    let setup = Setup::bare(&adapted(debian::MAIN))
        .file("pool.d/www.conf", adapted(debian::WWW))
        .script("x.php", PAGE);
    let mut pair = Pair::start(&setup);
    serves(&mut pair, |server| server.get("/x.php").to_text());
    pair.finish();
}

#[test]
fn docker() {
    let setup = Setup::bare(&adapted(docker::MAIN))
        .file("etc/php-fpm.d/docker.conf", adapted(docker::DOCKER))
        .file("etc/php-fpm.d/www.conf", adapted(docker::WWW))
        .file("etc/php-fpm.d/zz-docker.conf", adapted(docker::ZZ_DOCKER))
        .script("x.php", PAGE)
        .arg("-p")
        .arg("{dir}");
    let mut pair = Pair::start(&setup);
    serves(&mut pair, |server| {
        let mut client = Client::tcp(([127, 0, 0, 1], server.port(0)).into()).expect("its port");
        client.send(&Request::get(server, "/x.php")).to_text()
    });
    // Lines of the workers come through the master, those of the access log straight to the same place.
    pair.ignore_log().same("what it says", |server| {
        let twice = |text: &String| {
            ["from a worker", "GET /x.php"].iter().all(|part| text.matches(part).count() == 2)
        };
        let all = || Some(server.stderr()).filter(twice);
        let text = wait::until(all).unwrap_or_else(|| server.stderr());
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.into_iter().map(without_time).collect::<Vec<_>>().join("\n")
    });
    pair.finish();
}

#[test]
fn fedora() {
    let setup = Setup::bare(&adapted(fedora::MAIN))
        .file("pool.d/www.conf", adapted(fedora::WWW))
        .script("x.php", PAGE);
    let mut pair = Pair::start(&setup);
    serves(&mut pair, |server| server.get("/x.php").to_text());
    pair.same("PHP's log", |server| server.read("tmp/www-error.log"));
    pair.ignore_log().same("the log", |server| without_soap(&server.log()));
    pair.finish();
}

/// An access log's line without its time.
fn without_time(line: &str) -> String {
    match (line.split_once(" -  "), line.split_once(" +0000 ")) {
        (Some((client, _)), Some((_, request))) => format!("{client} {request}"),
        _ => line.to_owned(),
    }
}

/// Where PHP lacks the extension, cornac says that its setting is unknown; php-fpm lets only the workers know.
fn without_soap(log: &str) -> String {
    let kept = log.lines().filter(|line| !line.ends_with("Unable to set php_value 'soap.wsdl_cache_dir'"));
    kept.collect::<Vec<_>>().join("\n")
}

/// Starts as the service manager does, serves, rotates nothing, stops; as text.
fn life(
    side: Side,
    installation: &Installation,
    words: &[&str],
    log: &str,
    socket: &str,
    pid: &str,
) -> String {
    let server = Installed::start(side, installation, words, log);
    let script = server.script("x.php", PAGE);
    let page = server.get(socket, &script).to_text();
    let files = [log, socket, pid].map(|path| format!("{path}: {}", server.facts(path))).join("\n");
    let access = server.access_list(socket);
    let titles = server.titles();
    // How many workers there are by then is a matter of the process manager's pace.
    let titles: BTreeSet<_> = titles.iter().filter(|title| !title.contains("fork server")).collect();
    let code = server.end(Signal::SIGTERM);
    let after = [socket, pid].map(|path| server.facts(path)).join("\n");
    let text = format!(
        "{page}\n{files}\n{access}\n{titles:#?}\n{code:?}\n{after}\n{}",
        without_soap(&server.read(log))
    );
    let folder = script.trim_end_matches("/www/x.php");
    mask_volatile(&text.replace(folder, "{dir}"))
}

/// Debian's own files, as they are installed here.
#[test]
fn debian_as_it_is() {
    if skip_unless_root("Debian's configuration in its own place", 1) {
        return;
    }
    let installation = Installation {
        files: vec![
            ("/etc/php/8.2/fpm/php-fpm.conf", debian::MAIN),
            ("/etc/php/8.2/fpm/pool.d/www.conf", debian::WWW),
        ],
        folders: vec![("/run/php", "www-data")],
        ..Installation::default()
    };
    let log = "/var/log/php8.2-fpm.log";
    let (socket, pid) = ("/run/php/php8.2-fpm.sock", "/run/php/php8.2-fpm.pid");
    compare_runs("Debian", None, |side| life(side, &installation, &["--nodaemonize"], log, socket, pid));
}

/// Fedora's, with its users.
#[test]
fn fedora_as_it_is() {
    if skip_unless_root("Fedora's configuration in its own place", 1) {
        return;
    }
    let installation = Installation {
        files: vec![("/etc/php-fpm.conf", fedora::MAIN), ("/etc/php-fpm.d/www.conf", fedora::WWW)],
        folders: vec![("/run/php-fpm", "root"), ("/var/log/php-fpm", "apache")],
        users: vec!["apache", "nginx"],
    };
    let log = "/var/log/php-fpm/error.log";
    let (socket, pid) = ("/run/php-fpm/www.sock", "/run/php-fpm/php-fpm.pid");
    let words = ["--nodaemonize", "--fpm-config", "/etc/php-fpm.conf"];
    compare_runs("Fedora", None, |side| life(side, &installation, &words, log, socket, pid));
}
