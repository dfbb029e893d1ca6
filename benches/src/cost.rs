//! What a server has cost so far, from the kernel's own accounting: CPU time of every process of its tree, and with
//! strace, where that is installed, system calls. Reads /proc only; never slows the server while CPU time is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// CPU time in nanoseconds per living process of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuTimes(BTreeMap<i32, u64>);

impl CpuTimes {
    /// The tree below `root`, once it rests: two readings in a row agree. A reading while requests still finish would
    /// charge them to the wrong side.
    pub(crate) fn at_rest(root: i32) -> CpuTimes {
        let mut last = CpuTimes::now(root);
        for _ in 0..100 {
            sleep(Duration::from_millis(2));
            let next = CpuTimes::now(root);
            if next == last {
                break;
            }
            last = next;
        }
        last
    }

    fn now(root: i32) -> CpuTimes {
        CpuTimes(tree(root).into_iter().map(|pid| (pid, process_nanoseconds(pid))).collect())
    }

    /// Nanoseconds between an earlier reading and this one. `Err` when processes came or went, whose time is lost.
    pub(crate) fn since(&self, earlier: &CpuTimes) -> Result<u64, String> {
        if !self.0.keys().eq(earlier.0.keys()) {
            let pids = |times: &CpuTimes| times.0.keys().copied().collect::<Vec<_>>();
            return Err(format!("its processes changed: {:?} became {:?}", pids(earlier), pids(self)));
        }
        Ok(self.0.values().sum::<u64>().saturating_sub(earlier.0.values().sum()))
    }
}

/// Pids of `root` and all its descendants.
pub(crate) fn tree(root: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// All threads of a process: the scheduler's nanoseconds.
fn process_nanoseconds(pid: i32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// System calls of the whole tree while `work` runs `requests` requests, per request. `None` without strace, or where
/// it may not attach.
pub(crate) fn system_calls(root: i32, dir: &Path, requests: usize, work: impl FnOnce()) -> Option<f64> {
    let counts = dir.join("strace.txt");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&counts);
    for pid in tree(root) {
        command.args(["-p", &pid.to_string()]);
    }
    let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let attached = wait_until(|| tree(root).into_iter().all(is_traced));
    if attached {
        work();
    }
    let _ = kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT);
    let _ = strace.wait();
    let text = fs::read_to_string(counts).ok().filter(|_| attached)?;
    Some(total_calls(&text)? as f64 / requests as f64)
}

fn is_traced(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    (0..400).any(|_| {
        condition() || {
            sleep(Duration::from_millis(5));
            false
        }
    })
}

/// The last line of `strace -c -U name,calls`: `total N`.
fn total_calls(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("total")).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_in_straces_table() {
        assert_eq!(total_calls("syscall calls\n--- ---\nread 3\n--- ---\ntotal           29\n"), Some(29));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn own_tree_and_time_can_be_read() {
        let own = std::process::id().cast_signed();
        assert!(tree(own).contains(&own));
        assert!(process_nanoseconds(own) > 0);
    }
}
