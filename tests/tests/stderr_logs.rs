//! Logs that go to stderr by its name, as in containers, where the name cannot be opened: php-fpm does not start then.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use cornac_tests::binary::{is_root, same_on_both_sides};
use cornac_tests::compare::mask_volatile;
use cornac_tests::site::give_to_pool_user;
use cornac_tests::{Client, Request, Side, compare_runs, skip_unless_root, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

/// Official container images configure it like this.
const CONFIG: &str = "[global]\nerror_log = {error_log}\nlog_limit = 8192\ndaemonize = no\n[www]\nlisten = {dir}/www.sock\n\
    access.log = /proc/self/fd/2\naccess.format = \"access %r\"\nclear_env = no\ncatch_workers_output = yes\n\
    decorate_workers_output = no\npm = static\npm.max_children = 1\nping.path = /ping\n\
    slowlog = /proc/self/fd/2\nrequest_slowlog_timeout = 1s\n";

struct Scene {
    folder: TempDir,
    child: Child,
}

impl Scene {
    /// Starts the server in the foreground, as the pools' user or as the user we are.
    fn start(side: Side, error_log: &str, stderr: Stdio, as_pool_user: bool) -> Scene {
        let folder = tempfile::Builder::new().prefix("fpm-log-").tempdir().expect("folder");
        let path = folder.path();
        let rights = if is_root() && !as_pool_user { "user = www-data\n" } else { "" };
        let config =
            CONFIG.replace("{error_log}", error_log).replace("{dir}", &path.to_string_lossy()) + rights;
        fs::write(path.join("fpm.conf"), config).expect("own folder");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("own folder");
        let mut command = Command::new(side.executable());
        if side == Side::Subject && !same_on_both_sides() {
            command.arg("fpm");
        }
        if as_pool_user {
            give_to_pool_user(path);
            let user = User::from_name("www-data").ok().flatten().expect("user www-data");
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
            .arg("-y")
            .arg(path.join("fpm.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        Scene { child: command.spawn().expect("command starts"), folder }
    }

    /// What a ping answers, or the exit code.
    fn ping(&mut self) -> String {
        let socket = self.folder.path().join("www.sock");
        let connected = wait::until(|| match self.child.try_wait().expect("own child") {
            Some(status) => Some(Err(status.code())),
            None => UnixStream::connect(&socket).is_ok().then_some(Ok(())),
        });
        let Some(Ok(())) = connected else { return format!("{connected:?}") };
        self.get("/ping", "/x")
    }

    fn get(&self, name: &str, file: &str) -> String {
        let names = [("SCRIPT_NAME", name), ("SCRIPT_FILENAME", file), ("REQUEST_METHOD", "GET")];
        let request =
            names.iter().fold(Request::empty(), |request, (name, value)| request.param(name, value));
        Client::unix(&self.folder.path().join("www.sock")).send(&request).body()
    }

    fn stop(mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        self.child.wait().expect("own child");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines this is about; in the error log only the start.
fn told(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("access ") || line.contains("fpm is running"));
    lines.map(|line| mask_volatile(line.split("] ").last().unwrap_or(line))).collect::<Vec<_>>().join("\n")
}

const REASON: &str = "what cannot be opened by its name is written to as it is";

/// systemd's journal is a socket.
#[test]
fn a_socket() {
    let scene = |side: Side| {
        let (mut ours, theirs) = UnixStream::pair().expect("socket pair");
        let mut scene = Scene::start(side, "/proc/self/fd/2", OwnedFd::from(theirs).into(), false);
        let pong = scene.ping();
        scene.stop();
        let mut text = String::new();
        ours.read_to_string(&mut text).expect("socket");
        format!("{pong}\n{}", told(&text))
    };
    compare_runs("a socket", Some(REASON), scene);
    if !same_on_both_sides() {
        assert_eq!(scene(Side::Subject), "pong\nNOTICE: fpm is running, pid {pid}\naccess /ping");
    }
}

/// `docker run --user`: the terminal or pipe belongs to root.
#[test]
fn a_file_of_another_user() {
    if skip_unless_root("stderr of another user", 2) {
        return;
    }
    for error_log in ["/proc/self/fd/2", "/dev/stderr"] {
        let scene = |side: Side| {
            let file = tempfile::NamedTempFile::new().expect("file");
            let stderr: File = file.reopen().expect("file");
            let mut scene = Scene::start(side, error_log, stderr.into(), true);
            let pong = scene.ping();
            scene.stop();
            format!("{pong}\n{}", told(&fs::read_to_string(file.path()).expect("file")))
        };
        compare_runs(error_log, Some(REASON), scene);
        if !same_on_both_sides() {
            assert_eq!(scene(Side::Subject), "pong\nNOTICE: fpm is running, pid {pid}\naccess /ping");
        }
    }
}

#[test]
fn the_slow_log_in_a_file_of_another_user() {
    if skip_unless_root("slow log in the stderr of another user", 1) {
        return;
    }
    let scene = |side: Side| {
        let file = tempfile::NamedTempFile::new().expect("file");
        let stderr: File = file.reopen().expect("file");
        let mut scene = Scene::start(side, "/proc/self/fd/2", stderr.into(), true);
        let pong = scene.ping();
        if pong == "pong" {
            let script = scene.folder.path().join("slow.php");
            fs::write(&script, "<?php usleep(2200000);").expect("own folder");
            scene.get("/slow.php", &script.to_string_lossy());
        }
        scene.stop();
        let text = fs::read_to_string(file.path()).expect("file");
        let calls = text.lines().filter(|line| line.starts_with("[0x"));
        let names = calls.filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect::<Vec<_>>();
        format!("{pong}\n{names:?}")
    };
    compare_runs("the slow log", Some(REASON), scene);
    if !same_on_both_sides() {
        assert_eq!(scene(Side::Subject), "pong\n[\"usleep()\"]");
    }
}

/// Where it can be opened both do the same.
#[test]
fn a_pipe_of_our_own() {
    compare_runs("a pipe", None, |side| {
        let (mut reader, writer) = io::pipe().expect("pipe");
        let stderr = writer.as_fd().try_clone_to_owned().expect("pipe");
        drop(writer);
        let mut scene = Scene::start(side, "/proc/self/fd/2", stderr.into(), false);
        let pong = scene.ping();
        scene.stop();
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("pipe");
        format!("{pong}\n{}", told(&text))
    });
}
