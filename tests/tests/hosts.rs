//! The PHP executable that hosts a pool: the three kinds that are installed do, others are refused with what was
//! expected and found. php-fpm has nothing to compare with here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::run::until_exit;
use cornac_tests::{Server, Setup, Side, skip_unless_root};

const FACTS: &str = "<?php echo json_encode([PHP_VERSION, php_sapi_name(), php_ini_loaded_file(), php_ini_scanned_files(), \
    ini_get('opcache.enable'), opcache_get_status(false)['opcache_enabled'], function_exists('pcntl_fork'), \
    function_exists('fastcgi_finish_request'), ini_get('display_errors'), PHP_BINARY]);";

fn facts_with(binary: &str) -> String {
    let setup = Setup::new().www(&format!("php.binary = {binary}")).script("facts.php", FACTS);
    let server = Server::start(Side::Subject, &setup);
    let facts = server.get("/facts.php").body();
    server.stop();
    assert!(facts.contains(&binary.replace('/', "\\/")), "{facts}");
    facts.replace(&binary.replace('/', "\\/"), "{binary}")
}

#[test]
fn each_installed_executable_is_the_same_php() {
    if same_on_both_sides() {
        return;
    }
    let expected = facts_with("/usr/sbin/php-fpm8.2");
    for binary in ["/usr/bin/php-cgi8.2", "/usr/bin/php8.2"] {
        assert_eq!(facts_with(binary), expected, "{binary}");
    }
}

/// An executable that says of itself what a PHP with this build id would say.
fn executable_with(build_id: &str, folder: &Path) -> PathBuf {
    let source = folder.join("host.c");
    let program = folder.join("php-fake");
    let code = format!(
        "const char *id = \"{build_id}\"; int php_module_startup(void) {{ return *id; }} int main(void) {{ return 3; }}"
    );
    fs::write(&source, code).expect("source");
    let compiler = Command::new("cc").args(["-rdynamic", "-o"]).arg(&program).arg(&source).status();
    assert!(compiler.expect("cc runs").success());
    program
}

#[test]
fn other_executables_are_refused() {
    if same_on_both_sides() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("readable folder");
    let expected = "expected PHP 8.2 (API20220829,NTS: not thread-safe, no debug build), found ";
    for (build_id, found) in [
        ("API20230831,NTS", "PHP 8.3 (API20230831,NTS)"),
        ("API20220829,TS", "PHP 8.2 (API20220829,TS: thread-safe)"),
        ("API20220829,NTS,debug", "PHP 8.2 (API20220829,NTS,debug: a debug build)"),
        ("API20991231,NTS", "PHP of an unknown version (API20991231,NTS)"),
        ("nothing of that kind", "an executable that is no PHP"),
    ] {
        let program = executable_with(build_id, folder.path());
        let output =
            until_exit(Side::Subject, &Setup::new().www(&format!("php.binary = {}", program.display())));
        assert!(output.starts_with("exit: 78\n"), "{output}");
        assert!(
            output.contains(&format!("cannot host this pool: {expected}{found}")),
            "{build_id}: {output}"
        );
        assert!(!output.contains("fpm is running"), "{output}");
    }
}

#[test]
fn executables_that_cannot_be_run_are_named() {
    if same_on_both_sides() {
        return;
    }
    for binary in ["/nowhere/php", "/etc/passwd", "/tmp", "/bin/true"] {
        let output = until_exit(Side::Subject, &Setup::new().www(&format!("php.binary = {binary}")));
        assert!(output.starts_with("exit: 78\n") && output.contains(binary), "{binary}: {output}");
    }
}

/// The last step before PHP begins is taken with the pool's rights.
#[test]
fn an_executable_of_root_alone_is_named() {
    if same_on_both_sides() || skip_unless_root("an executable of root alone", 1) {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("php");
    fs::copy("/usr/bin/php8.2", &program).expect("own folder");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("for root alone");
    let program = program.display();
    let output = until_exit(Side::Subject, &Setup::new().www(&format!("php.binary = {program}")));
    let line = format!("ERROR: [pool www] cannot start {program}: execve: Permission denied (13)");
    assert!(output.starts_with("exit: 78\n") && output.contains(&line), "{output}");
}

/// PHP would start without its php.ini, and nobody would notice.
#[test]
fn a_php_ini_that_only_root_can_read() {
    if same_on_both_sides() || skip_unless_root("a php.ini that only root can read", 2) {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let ini = folder.path().join("php.ini");
    fs::write(&ini, "precision = 3\n").expect("php.ini");
    fs::set_permissions(&ini, fs::Permissions::from_mode(0o600)).expect("for root alone");
    let setup = Setup::new()
        .arg("-c")
        .arg(&ini.to_string_lossy())
        .script("who.php", "<?php echo ini_get('precision'), ' ', posix_geteuid() === 0 ? 'root' : 'user';");
    let output = until_exit(Side::Subject, &setup);
    assert!(output.starts_with("exit: 78\n"), "{output}");
    assert!(output.contains("php.ini cannot be read by the pool's user"), "{output}");
    assert!(output.contains("php.startup_user = root"), "{output}");

    let server = Server::start(Side::Subject, &setup.www("php.startup_user = root"));
    assert_eq!(server.get("/who.php").body(), "3 user");
    server.stop();
}
