//! What a reader has to know about the machine to judge the figures. Nothing that names it: no host name, no address.

use std::fs;

use crate::cost::tree;

/// The processor, as the kernel names it.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Processors this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The running kernel, first three numbers.
pub(crate) fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().split('-').next().unwrap_or_default().to_owned()
}

/// Clock ticks since boot, read from /proc: all there are, those not idle, and those of this process and its servers.
#[derive(Clone, Copy)]
pub(crate) struct Ticks {
    all: u64,
    busy: u64,
    own: u64,
}

impl Ticks {
    /// As of now.
    pub(crate) fn now() -> Ticks {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let counts: Vec<u64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let all = counts.iter().sum();
        // The fourth and fifth number are idle time, without and with input or output pending.
        let idle: u64 = counts.iter().skip(3).take(2).sum();
        let own = tree(std::process::id().cast_signed()).into_iter().map(process_ticks).sum();
        Ticks { all, busy: all - idle, own }
    }

    /// Share (0 to 1) of the machine that others used since an earlier reading.
    pub(crate) fn share_of_others(self, earlier: Ticks) -> f64 {
        let busy = (self.busy - earlier.busy).saturating_sub(self.own.saturating_sub(earlier.own));
        busy as f64 / (self.all - earlier.all).max(1) as f64
    }
}

/// User and system time of a process and of the children it has waited for.
fn process_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    fields.split_whitespace().skip(11).take(4).flat_map(str::parse::<u64>).sum()
}

/// Letters and digits of a text in lower case, words joined by hyphens; trade marks left out.
pub(crate) fn slug(text: &str) -> String {
    let text = text.replace("(R)", "").replace("(TM)", "").to_lowercase();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    words.filter(|word| !["", "cpu", "processor", "with"].contains(word)).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_is_busy_and_not_ours() {
        let ticks = |all, busy, own| Ticks { all, busy, own };
        assert_eq!(ticks(300, 150, 60).share_of_others(ticks(100, 50, 10)), 0.25);
        assert_eq!(ticks(300, 150, 120).share_of_others(ticks(100, 50, 10)), 0.0);
        assert!(process_ticks(1) < Ticks::now().all);
    }

    #[test]
    fn slugs_are_file_names() {
        for (text, expected) in [
            ("Intel(R) Xeon(R) Processor @ 2.50GHz", "intel-xeon-2.50ghz"),
            ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", "amd-ryzen-7-7840u-w-radeon-780m-graphics"),
        ] {
            assert_eq!(slug(text), expected);
        }
    }
}
