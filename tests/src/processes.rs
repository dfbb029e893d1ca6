//! Which processes belong to a server, read from /proc: descendants of its master, and whatever carries its folder in
//! environment or title. A process is known by pid *and* start time, so a reused pid is never taken for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable by which a server's processes are recognised when they have left its tree.
pub const MARK: &str = "CORNAC_TEST_DIR";

/// One process, safe against reuse of its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// Field 22 of /proc/pid/stat, clock ticks since boot.
    started: u64,
}

/// What /proc/pid/stat says, as far as it is needed here.
struct Stat {
    process: Process,
    parent: i32,
    zombie: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let process = Process { pid, started: fields.get(19)?.parse().ok()? };
    Some(Stat {
        process,
        parent: fields.get(1)?.parse().ok()?,
        zombie: matches!(fields.first(), Some(&"Z" | &"X")),
    })
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Process> {
        stat(pid).map(|stat| stat.process)
    }

    /// Still there, and not a zombie.
    pub fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.process == self && !stat.zombie)
    }

    /// Sends a signal unless the process is gone.
    pub fn signal(self, signal: Signal) {
        if self.lives() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// The title as `ps` shows it.
    pub fn title(self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
    }

    /// One line of /proc/pid/status, without its name.
    pub fn status_line(self, name: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    }
}

/// Every living descendant of `root`, and `root`.
pub fn tree(root: i32) -> BTreeSet<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for stat in all().into_iter().filter(|stat| !stat.zombie) {
        children.entry(stat.parent).or_default().push(stat.process);
    }
    let mut found: BTreeSet<Process> =
        Process::of(root).filter(|process| process.lives()).into_iter().collect();
    let mut todo = vec![root];
    while let Some(pid) = todo.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            todo.push(child.pid);
            found.insert(child);
        }
    }
    found
}

/// Every living process that carries `dir` in its environment or title, this test apart.
pub fn marked(dir: &Path) -> BTreeSet<Process> {
    let dir = dir.to_string_lossy();
    let mark = format!("{MARK}={dir}");
    let contains = |pid: i32, file: &str, text: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let own = std::process::id() as i32;
    all()
        .into_iter()
        .filter(|stat| !stat.zombie && stat.process.pid != own)
        .filter(|stat| {
            contains(stat.process.pid, "environ", &mark)
                || contains(stat.process.pid, "cmdline", &format!("{dir}/"))
        })
        .map(|stat| stat.process)
        .collect()
}

/// Process ids of both sides shall have equally many digits where lines are wrapped: where the next ones are about to
/// become longer, lets them.
pub fn settle_pid_width() {
    let next = || {
        let mut child = std::process::Command::new("true").spawn().expect("true is installed");
        let _ = child.wait();
        child.id()
    };
    while matches!(next(), 800..1_000 | 8_500..10_000) {}
}
