//! The unit files in packaging/systemd, and the set-up of systemd's manual "Socket Activation with Popular Daemons".

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use cornac_tests::binary::{is_root, same_on_both_sides};
use cornac_tests::installed::has_program;
use cornac_tests::{Client, Request, Server, Setup, Side, Signal, compare_runs, wait};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(units().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The values of a setting.
fn values<'a>(unit: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
}

/// A folder with the unit files, for the executable that is tested.
fn copies(more: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let program = Side::Subject.executable();
    for name in ["cornac.service", "cornac.socket"] {
        let text = unit(name).replace("/usr/bin/cornac", &program.to_string_lossy());
        std::fs::write(folder.path().join(name), text).expect("own folder");
    }
    let drop_ins = folder.path().join("cornac.service.d");
    std::fs::create_dir(&drop_ins).expect("own folder");
    for name in more {
        let last = Path::new(name).file_name().expect("a name");
        std::fs::write(drop_ins.join(last), unit(name)).expect("own folder");
    }
    folder
}

/// What `systemd-analyze verify` says; nothing if all is well.
fn verified(folder: &tempfile::TempDir) -> String {
    let units = ["cornac.service", "cornac.socket"].map(|name| folder.path().join(name));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output();
    let output = output.expect("it is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    // Of other units, which are none of ours.
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("cornac")).collect();
    format!("{}{}", if output.status.success() { "" } else { "refused\n" }, ours.join("\n"))
}

#[test]
fn systemd_accepts_them() {
    if same_on_both_sides() || !has_program("systemd-analyze") {
        return;
    }
    assert_eq!(verified(&copies(&[])), "");
    assert_eq!(verified(&copies(&["cornac.service.d/10-hardening.conf"])), "");
    // A line that it does not know is told: the check can fail.
    let spoilt = copies(&[]);
    std::fs::write(spoilt.path().join("cornac.service.d/x.conf"), "[Service]\nKillSignal=SIGNONE\n")
        .expect("own");
    assert_ne!(verified(&spoilt), "");
}

#[test]
fn waiting_for_the_end_of_a_reload_needs_a_newer_one() {
    if same_on_both_sides() || !has_program("systemctl") {
        return;
    }
    let output = Command::new("systemctl").arg("--version").output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version: u32 =
        text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("systemd VERSION");
    let told = verified(&copies(&["examples/notify-reload.conf"]));
    // Which is why it is no part of the unit.
    assert_eq!(told.is_empty(), version >= 253, "{told}");
}

/// The unit's commands are commands of ours, and the example is a configuration.
#[test]
fn what_they_start_is_there() {
    if same_on_both_sides() {
        return;
    }
    let service = unit("cornac.service");
    let setup = Setup::new().handed_in("{dir}/www.sock").activated("1", "www");
    let setup = setup.file("overlay.conf", unit("examples/overlay.conf").replace("30s", "1h"));
    let server = Server::start(Side::Subject, &setup);
    let run = |setting: &str, becomes: (&str, &str), more: &[&str]| {
        let line = values(&service, setting).next().expect("a command");
        let line = line.replace("/etc/php/8.2/fpm/php-fpm.conf", &server.fill("{dir}/php-fpm.conf"));
        let (program, words) = line.split_once(' ').expect("words");
        assert!(program == "/usr/bin/cornac" && words.starts_with(becomes.0), "{line}");
        let words = words.replacen(becomes.0, becomes.1, 1);
        let mut command = Command::new(Side::Subject.executable());
        let output = command.args(words.split_whitespace()).args(more).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let overlay = server.fill("{dir}/overlay.conf");
    let (_, said) = run("ExecStart", ("run ", "check "), &["--overlay", &overlay]);
    assert!(said.contains("test is successful"), "{said}");
    let (code, said) = run("ExecReload", ("reload ", "reload "), &[]);
    assert_eq!(code, Some(0), "{said}");
    server.wait_ready_times(2);
    server.configure(&setup.clone().www("pm.max_children = none"));
    let (code, said) = run("ExecReload", ("reload ", "reload "), &[]);
    assert!(code == Some(1) && said.contains("pm.max_children"), "{code:?} {said}");
    server.stop();
}

/// Nobody needs more rights than the drop-in leaves.
#[test]
fn the_hardened_masters_capabilities_are_enough() {
    if same_on_both_sides() || !is_root() || !has_program("setpriv") {
        return;
    }
    let unit = unit("cornac.service.d/10-hardening.conf");
    let names: String = values(&unit, "CapabilityBoundingSet")
        .flat_map(str::split_whitespace)
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    assert!(names.contains("+setuid"), "{names}");
    let setup = Setup::new()
        .wrapped(&["setpriv", "--no-new-privs", "--bounding-set", &format!("-all{names}")])
        .global("process.priority = -5\nrlimit_files = 2000")
        .www("listen.owner = {user}\nlisten.group = {group}\nlisten.mode = 0600\nprocess.priority = 5\nrlimit_files = 1000")
        .www("slowlog = {dir}/slow.log\nrequest_slowlog_timeout = 1s\naccess.log = {dir}/access.log")
        .pool("jail", "chroot = {dir}/www\nchdir = /\nlisten.acl_users = {user}")
        .script("x.php", "<?php echo 'served ', posix_geteuid();")
        .script("slow.php", "<?php function waits() { while (!file_exists(__DIR__ . '/../tmp/go')) { usleep(10000); clearstatcache(); } } waits();");
    let server = Server::start(Side::Subject, &setup);
    let served = server.get("/x.php").body();
    assert!(served.starts_with("served ") && served != "served 0", "{served}");
    let mut slow = server.connect();
    slow.write(&Request::get(&server, "/slow.php").encode()).expect("sent");
    wait::until(|| server.read("slow.log").contains("waits()").then_some(())).expect("a backtrace");
    server.write("tmp/go", "");
    slow.read_reply();
    let jailed = Request::get(&server, "/x.php").param("SCRIPT_FILENAME", "/x.php");
    assert_eq!(Client::unix(&server.socket("jail")).send(&jailed).body(), served);
    server.signal(Signal::SIGUSR1);
    server.wait_log("access log file re-opened");
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    assert_eq!(server.get("/x.php").body(), served);
    for complaint in ["WARNING", "ERROR", "ALERT"] {
        let lines = server.log();
        let lines: Vec<&str> = lines
            .lines()
            .filter(|line| line.contains(complaint) && !line.contains("executing too slow"))
            .collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
    server.stop_with(Signal::SIGQUIT);
}

/// As that manual has it: everything handed in by FPM_SOCKETS, the user by the unit, the end by SIGTERM to the main
/// process alone, and comments behind the values. It says to stop and start the socket unit together with the service; that
/// is what is not done here.
#[test]
fn the_manuals_set_up_works_as_printed() {
    let reason = "php-fpm removes the file of systemd's socket at its end";
    compare_runs("stop and start the service", Some(reason), |side| {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("pool.socket");
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("own folder");
        };
        set(folder.path(), 0o777);
        let listener = UnixListener::bind(&path).expect("own folder");
        set(&path, 0o666);
        let script = folder.path().join("x.php");
        std::fs::write(&script, "<?php echo 'served';").expect("own folder");
        let config = format!(
            "[global]\n\
             pid = {{dir}}/tmp/pool.pid ; nobody reads it\n\
             error_log = syslog            ; goes to the journal\n\
             daemonize = no                ; systemd's business\n\n\
             [www]\n\
             listen = {}  ; as in the socket unit\n\
             user = nginx ; needed, and without effect\n\
             group = nginx ; likewise\n\
             pm = static\n\
             pm.max_children = 10\n\
             slowlog = {{dir}}/tmp/slow.log\n",
            path.display()
        );
        let mut seen = Vec::new();
        for _ in 0..3 {
            // systemd announces the socket in its own way as well.
            let setup = Setup::bare(&config)
                .unprivileged()
                .passed(listener.try_clone().expect("own socket"))
                .activated("1", "my-php-fpm-pool.socket")
                .env("FPM_SOCKETS", &format!("{}=3", path.display()));
            let Ok(_first) = UnixStream::connect(&path) else {
                seen.push("nobody can connect".to_owned());
                continue;
            };
            let server = Server::launch(side, &setup);
            let script = script.display().to_string();
            let request = Request::empty().param("SCRIPT_FILENAME", &script).param("REQUEST_METHOD", "GET");
            seen.push(Client::unix(&path).send(&request.param("SCRIPT_NAME", "/x.php")).body());
            server.stop();
        }
        if side == Side::Subject && !same_on_both_sides() {
            assert_eq!(seen, ["served"; 3]);
        }
        seen.join("\n")
    });
}
