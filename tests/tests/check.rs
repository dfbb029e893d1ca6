//! `cornac check`: what a start would refuse and `php-fpm -t` accepts, each with its line; and nothing where all is well.

use cornac_tests::run::until_exit;
use cornac_tests::site::Site;
use cornac_tests::tester::{own_command, write_filled};
use cornac_tests::{Setup, Side};

/// The pool's lines, and what `cornac check` says.
fn refused(name: &str, lines: &str, expected: &[&str]) {
    let setup = Setup::new().www(lines);
    let theirs = until_exit(Side::Reference, &setup.clone().arg("-t"));
    assert!(theirs.starts_with("exit: 0"), "{name}: php-fpm refuses it too:\n{theirs}");
    let site = Site::create("fpm-own-");
    write_filled(&site, "fpm.conf", &setup.config());
    let ours = own_command(&site, &["check", "{dir}/fpm.conf"]);
    assert!(ours.starts_with("Some(78)"), "{name}:\n{ours}");
    // The pool's last line is the one at fault.
    let last = format!("--> {{dir}}/fpm.conf:{}", setup.config().lines().count());
    for line in expected.iter().copied().chain([last.as_str()]) {
        assert!(ours.contains(line), "{name}: {line} is not in\n{ours}");
    }
}

#[test]
fn what_a_start_would_refuse() {
    let long = format!("listen = {{dir}}/{}", "x".repeat(120));
    refused("path too long", &long, &["as path is too long", "maximal length: 107"]);
    let missing =
        "the folder of the socket '{dir}/none/x.sock' cannot be used: No such file or directory (2)";
    refused("missing folder", "listen = {dir}/none/x.sock", &[missing]);
    refused("bad port", "listen = 127.0.0.1:99999", &["invalid port value '99999'"]);
    refused(
        "unknown host",
        "listen = no.such.host.invalid:9000",
        &["cannot resolve listen 'no.such.host.invalid'"],
    );
    let user = "[pool www] cannot get uid for user 'no-such-user'";
    refused("unknown user in the access list", "listen.acl_users = www-data,no-such-user", &[user]);
    let group = "[pool www] cannot get gid for group 'no-such-group'";
    refused("unknown group in the access list", "listen.acl_groups = no-such-group", &[group]);
    if !cornac_tests::skip_unless_root("a pool that would run as root", 1) {
        let text = "please specify user and group other than root";
        refused("root", "group = root\nuser = root", &[text]);
    }
}

/// Several findings come together.
#[test]
fn all_findings_at_once() {
    let site = Site::create("fpm-own-");
    let setup = Setup::new()
        .global("pid = {dir}/none/pid")
        .www("php.binary = /none/php\nlisten = {dir}/none/x.sock\nlisten.mode = rw\nlisten.allowed_clients = lo")
        .pool("other", "php.binary = /bin/sh\nlisten.acl_users = no-such-user");
    write_filled(&site, "fpm.conf", &setup.config());
    let text = own_command(&site, &["check", "{dir}/fpm.conf"]);
    for expected in [
        "Some(78)",
        "ERROR: php.binary = /none/php: there is no such file",
        "the folder of the PID file ({dir}/none/pid) cannot be used",
        "the folder of the socket '{dir}/none/x.sock' cannot be used",
        "WARNING: [pool www] listen.mode 'rw' is not an octal number; 0000 is used",
        "WARNING: [pool www] Wrong IP address 'lo' in listen.allowed_clients",
        "ERROR: /bin/sh is no PHP executable",
        "[pool other] cannot get uid for user 'no-such-user'",
        "ERROR: FPM initialization failed",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn what_can_be_started() {
    let site = Site::create("fpm-own-");
    write_filled(&site, "fpm.conf", &Setup::new().www("listen.mode = 0600").config());
    let good = "Some(0)\n[time] NOTICE: configuration file {dir}/fpm.conf test is successful\n\n";
    assert_eq!(own_command(&site, &["check", "{dir}/fpm.conf"]), good);
    assert_eq!(own_command(&site, &["check", "-c", "{dir}/fpm.conf"]), good);
    let dump = own_command(&site, &["check", "--dump", "{dir}/fpm.conf"]);
    assert!(dump.contains("\tlisten.mode = 0600") && dump.ends_with("test is successful\n\n"), "{dump}");
    let missing = own_command(&site, &["check", "--overlay", "{dir}/none", "{dir}/fpm.conf"]);
    assert!(missing.starts_with("Some(78)\ncornac: the overlay {dir}/none cannot be used"), "{missing}");
    site.write("overlay", b"[www]\nrequest_read_timeout = 5x\n");
    let wrong = own_command(&site, &["check", "--overlay", "{dir}/overlay", "{dir}/fpm.conf"]);
    assert!(wrong.contains("--> {dir}/overlay:2\n"), "{wrong}");
}

/// An executable that is no PHP at all has no build id; one of another PHP is refused by it.
#[test]
fn executables_of_another_build() {
    let site = Site::create("fpm-own-");
    site.write("php", b"\x7fELF API20190902,NTS\0");
    write_filled(&site, "fpm.conf", &Setup::new().www("php.binary = {dir}/php").config());
    let text = own_command(&site, &["check", "{dir}/fpm.conf"]);
    assert!(text.contains("{dir}/php is a PHP of build API20190902,NTS; the engine is for API2"), "{text}");
}
