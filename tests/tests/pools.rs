//! Pools and their processes: users, folders, chroot, limits, priorities; unix and TCP sockets with owners, modes and
//! allowed clients.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use cornac_tests::{Case, Client, Pair, Request, Server, Setup, skip_unless_root};

const WHO: &str = "<?php $s = file_get_contents('/proc/self/status'); preg_match_all('/^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs|Seccomp|SigBlk|SigIgn|Umask):.*/m', $s, $m); echo implode(\"\\n\", $m[0]), \"\\n\", getcwd(), ' ', decoct(umask()), ' ', get_current_user(), ' ', posix_getpwuid(posix_geteuid())['name'], \"\\n\"; var_dump(posix_getrlimit(), posix_getpid() === getmypid());";

fn who(lines: &str) {
    let mut pair = Pair::start(&Setup::new().www(lines).script("who.php", WHO));
    pair.cases([Case::get(lines, "/who.php")]);
    pair.finish();
}

#[test]
fn worker_as_configured() {
    who("");
}

#[test]
fn chdir() {
    who("chdir = /usr/share");
}

#[test]
fn limits() {
    who("rlimit_files = 200\nrlimit_core = unlimited");
}

#[test]
fn numeric_user() {
    if !skip_unless_root("numeric user", 2) {
        who("user = 33\ngroup = 33");
        who("user = 33");
    }
}

#[test]
fn other_user_without_group() {
    if !skip_unless_root("other users", 2) {
        who("user = nobody\ngroup =");
        who("user = nobody\ngroup = daemon");
    }
}

#[test]
fn root_when_allowed() {
    if skip_unless_root("pool as root", 1) {
        return;
    }
    let mut pair =
        Pair::start(&Setup::new().www("user = root\ngroup = root").script("who.php", WHO).arg("-R"));
    pair.case(&Case::get("root", "/who.php"));
    pair.finish();
}

#[test]
fn priority() {
    if skip_unless_root("priorities", 2) {
        return;
    }
    let mut pair = Pair::start(&Setup::new().global("process.priority = 3").www("process.priority = 7"));
    pair.same("worker", |server| {
        // A worker that has answered is there, and has its title.
        server.get("/missing.php");
        server.workers("www").first().map_or_else(|| "no worker".into(), |worker| nice(worker.pid))
    });
    pair.same("master", |server| nice(server.master()));
    pair.finish();
}

fn nice(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(16)).unwrap_or("none").to_owned()
}

#[test]
fn chroot() {
    if skip_unless_root("chroot", 3) {
        return;
    }
    let code = "<?php var_dump(getcwd(), __FILE__, $_SERVER['SCRIPT_FILENAME'], scandir('/'), @file_get_contents('/etc/passwd')); include 'inc.php';";
    let mut pair = Pair::start(
        &Setup::new()
            .www("chroot = {dir}/www\nchdir = /")
            .script("x.php", code)
            .script("inc.php", "<?php echo __FILE__;"),
    );
    pair.cases([
        Case::get("path inside", "/x.php").param("SCRIPT_FILENAME", "/x.php").param("DOCUMENT_ROOT", "/"),
        Case::get("path outside", "/x.php"),
        Case::get("getpwuid", "/x.php").param("SCRIPT_FILENAME", "/inc.php").param("DOCUMENT_ROOT", ""),
    ]);
    pair.finish();
}

#[test]
fn several_pools() {
    let script =
        "<?php var_dump(fpm_get_status()['pool'], getenv('NAME'), ini_get('precision'), $_SERVER['USER']);";
    let setup = Setup::new()
        .www("env[NAME] = first\nphp_value[precision] = 3")
        .pool("api", "env[NAME] = second\npm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2")
        .pool("odd.name-1", "env[NAME] = third\npm = ondemand\npm.max_children = 2")
        .script("pool.php", script);
    let mut pair = Pair::start(&setup);
    for pool in ["www", "api", "odd.name-1"] {
        pair.same(pool, |server| {
            Client::unix(&server.socket(pool)).send(&Request::get(server, "/pool.php")).to_text()
        });
    }
    pair.same("titles", |server| {
        let mut titles: Vec<String> = server.processes().iter().map(|process| process.title()).collect();
        titles.retain(|title| title.starts_with("php-fpm: pool") || title.starts_with("php-fpm: master"));
        titles.sort();
        titles.dedup();
        titles.join("\n")
    });
    // How many workers a dynamic pool has at a moment is a matter of time.
    pair.ignore_log();
    pair.finish();
}

#[test]
fn tcp() {
    let setup = Setup::new()
        .www("listen = 127.0.0.1:{port}")
        .pool("six", "listen = [::1]:{port2}")
        .script("x.php", "<?php echo 'over tcp ', fpm_get_status()['pool'], str_repeat('x', 100000);");
    let mut pair = Pair::start(&setup);
    pair.same("v4", |server| over_tcp(server, SocketAddr::from(([127, 0, 0, 1], server.port(0)))));
    pair.same("v6", |server| {
        over_tcp(server, SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, server.port(1))))
    });
    pair.finish();
}

fn over_tcp(server: &Server, address: SocketAddr) -> String {
    let Ok(mut client) = Client::tcp(address) else { return "not connected".into() };
    let kept = client.send(&Request::get(server, "/x.php").keep()).to_text();
    format!("{kept}\n{}", client.send(&Request::get(server, "/x.php")).to_text())
}

#[test]
fn tcp_on_all_addresses() {
    for listen in ["{port}", "*:{port}", "0.0.0.0:{port}", "[::]:{port}"] {
        let mut pair =
            Pair::start(&Setup::new().www(&format!("listen = {listen}")).script("x.php", "<?php echo 1;"));
        pair.same("v4", |server| over_tcp(server, SocketAddr::from(([127, 0, 0, 1], server.port(0)))));
        pair.same("v6", |server| {
            over_tcp(server, SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, server.port(0))))
        });
        pair.finish();
    }
}

#[test]
fn allowed_clients() {
    for allowed in
        ["127.0.0.1", "192.0.2.1", "192.0.2.1, 127.0.0.1 ", "nonsense", "::1", "nonsense,127.0.0.1"]
    {
        let lines = format!(
            "listen = 127.0.0.1:{{port}}\nlisten.allowed_clients = {allowed}\ncatch_workers_output = yes"
        );
        let mut pair = Pair::start(&Setup::new().www(&lines).script("x.php", "<?php echo 1;"));
        pair.same(allowed, |server| over_tcp(server, SocketAddr::from(([127, 0, 0, 1], server.port(0)))));
        pair.finish();
    }
}

#[test]
fn socket_mode() {
    for mode in ["", "listen.mode = 0660", "listen.mode = 0600", "listen.mode = 0777"] {
        let config = if mode.is_empty() { "listen.mode = 0660".to_owned() } else { mode.to_owned() };
        let mut pair = Pair::start(&Setup::new().www(&config));
        pair.same(&config, socket_facts);
        pair.finish();
    }
}

#[test]
fn socket_owner() {
    if skip_unless_root("socket owners", 4) {
        return;
    }
    for lines in [
        "listen.owner = www-data\nlisten.group = www-data",
        "listen.owner = nobody",
        "listen.group = 33",
        "listen.owner = 12345\nlisten.group = 54321",
    ] {
        let mut pair = Pair::start(&Setup::new().www(lines));
        pair.same(lines, socket_facts);
        pair.finish();
    }
}

#[test]
fn socket_acl() {
    if skip_unless_root("socket ACLs", 2) {
        return;
    }
    for lines in [
        "listen.acl_users = www-data,nobody\nlisten.acl_groups = daemon",
        "listen.acl_users = nobody\nlisten.owner = www-data",
    ] {
        let mut pair = Pair::start(&Setup::new().www(lines));
        pair.same(lines, |server| {
            let list = Command::new("getfacl").arg("-pn").arg(server.socket("www")).output();
            let list = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            format!("{}\n{}", socket_facts(server), list.unwrap_or_default())
        });
        pair.finish();
    }
}

fn socket_facts(server: &Server) -> String {
    let facts = std::fs::symlink_metadata(server.socket("www")).expect("the socket");
    format!("{:o} {} {}", facts.mode(), facts.uid(), facts.gid())
}
