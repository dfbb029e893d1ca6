//! Many small configurations through `-tt` of both sides, one after the other in the same folder, so that paths need no
//! mask. Nothing is started.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::compare::{difference, mask_volatile};
use crate::server::Side;
use crate::site::{Site, pool_user};
use crate::wait;

/// The environment of both, for `${NAME}` and `$NAME`.
pub const ENVIRONMENT: [(&str, &str); 5] =
    [("PATH", "/usr/bin:/bin"), ("GREETING", "hallo"), ("NUMBER", "3"), ("SWITCH", "yes"), ("EMPTY", "")];

/// One configuration: files by name below the folder, the first of which is the main one.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// What a failure is told of.
    pub name: String,
    /// Name and content; `{dir}` in a content stands for the folder, `{user}` for the pools' user.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// A main file alone.
    pub fn one(name: &str, text: impl Into<Vec<u8>>) -> Files {
        Files { name: name.into(), files: vec![("fpm.conf".into(), text.into())] }
    }

    /// The same with one more file.
    pub fn with(mut self, name: &str, text: impl Into<Vec<u8>>) -> Files {
        self.files.push((name.into(), text.into()));
        self
    }
}

/// Compares exit code and output of both for every configuration; cornac may not take much longer than php-fpm. `words` are further words of the command line.
/// Panics with what differs.
pub fn same_verdicts(configurations: &[Files], words: &[&str]) {
    configurations.iter().for_each(|files| crate::pair::count(&files.name));
    let next = AtomicUsize::new(0);
    let work = || -> Vec<String> {
        let mut findings = Vec::new();
        let site = Site::create("fpm-test-");
        while let Some(files) = configurations.get(next.fetch_add(1, Ordering::Relaxed)) {
            findings.extend(finding(&site, files, words));
        }
        findings
    };
    let findings: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread of this test")).collect()
    });
    let shown = findings.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        findings.is_empty(),
        "{} of {} configurations differ:\n{shown}",
        findings.len(),
        configurations.len()
    );
}

fn finding(site: &Site, files: &Files, words: &[&str]) -> Option<String> {
    let dir = site.path().to_string_lossy().into_owned();
    for (name, content) in &files.files {
        let content = replace(content, b"{dir}", dir.as_bytes());
        site.write(name, &replace(&content, b"{user}", pool_user().0.as_bytes()));
    }
    let words: Vec<String> = words.iter().map(|word| word.replace("{dir}", &dir)).collect();
    let main = &files.files[0].0;
    let timed = |side| {
        let start = Instant::now();
        (verdict(side, site, main, &words), start.elapsed())
    };
    let [(reference, theirs), (subject, ours)] = [Side::Reference, Side::Subject].map(timed);
    // What grows with the square of a file takes minutes; a busy machine slows both down.
    let slow =
        (ours > theirs * 4 + Duration::from_secs(5)).then(|| format!("      {ours:?}, php-fpm {theirs:?}"));
    difference(&reference, &subject).or(slow).map(|lines| format!("---- {}\n{lines}", files.name))
}

/// Exit code and all output of `-tt`.
fn verdict(side: Side, site: &Site, main: &str, words: &[String]) -> String {
    let output = Command::new(side.executable())
        .arg0("/test/php-fpm")
        .args(["-n", "-tt", "-y"])
        .arg(site.path().join(main))
        .args(words)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir(site.path())
        .stdin(Stdio::null())
        .output()
        .expect("command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    mask_volatile(&format!("{:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr)))
}

fn replace(text: &[u8], token: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(token.len()).position(|window| window == token) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + token.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Exit code and output of the command as the user `nobody`; only as root.
pub fn as_nobody(side: Side, words: &[String]) -> String {
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("user nobody");
    // What was just built need not lie where everybody may go.
    let site = Site::create("fpm-test-");
    let executable = site.path().join("php-fpm");
    std::fs::copy(side.executable(), &executable).expect("own folder");
    let mut command = Command::new(executable);
    command.args(words).env_clear().uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    command.current_dir("/").stdin(Stdio::null());
    // Another test may just be starting a process, which holds the copy open for writing until it executes.
    let free = || match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
        outcome => Some(outcome),
    };
    let output = wait::until(free).expect("nobody writes the copy").expect("command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    mask_volatile(&format!("{:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// Exit code and output of one of cornac's own commands.
pub fn own_command(site: &Site, words: &[&str]) -> String {
    let dir = site.path().to_string_lossy().into_owned();
    let output = Command::new(Side::Subject.executable())
        .arg0("cornac")
        .args(words.iter().map(|word| word.replace("{dir}", &dir)))
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .expect("command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = format!("{:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr));
    mask_volatile(&text).replace(&dir, "{dir}")
}

/// Writes a configuration with its placeholders filled in.
pub fn write_filled(site: &Site, name: &str, text: &str) {
    site.write(name, crate::server::fill_in(text, site.path(), &[1, 2]).as_bytes());
}
