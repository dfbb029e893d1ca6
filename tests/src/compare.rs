//! Masks of what may differ between two runs (folder, ports, pids, times), and the comparison of what is left.

use std::sync::LazyLock;

use regex::Regex;

use crate::server::Server;

/// Always masked: time stamps of log lines, pids, and durations.
static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let table = [
        // Only builds with systemd say it; one test of the life cycle looks at it.
        (r"(?m)^.*systemd monitor interval set.*\n", ""),
        // Which request a worker had when it crashed: php-fpm does not say. The faults look at it.
        (r"(?m)^.*WARNING: .*\[pool [^\]]*\] child \d+ was at work when it ended: .*\n", ""),
        (r"\[\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d(\.\d+)?( [A-Za-z/_]+)?\]", "[time]"),
        (r"\bchild \d+", "child {pid}"),
        (r"\bpid \d+", "pid {pid}"),
        (r"\d+\.\d+ (seconds from start|sec\))", "{seconds} $1"),
        (r"\bfd=\d+", "fd={fd}"),
    ];
    table.iter().map(|(pattern, with)| (Regex::new(pattern).expect("pattern"), *with)).collect()
});

/// Replaces the server's folder and ports, the volatile parts of log lines, and what `masks` match.
pub fn mask(server: &Server, text: &str, masks: &[Regex]) -> String {
    let mut text = text.replace(&*server.dir().to_string_lossy(), "{dir}");
    if let Some(name) = server.dir().file_name() {
        // Paths also come escaped, encoded or cut off on the left.
        text = text.replace(&*name.to_string_lossy(), "{name}");
    }
    for (port, name) in server.named_ports() {
        text = text.replace(&port, name);
    }
    text = mask_volatile(&text);
    for pattern in masks {
        text = pattern.replace_all(&text, "{masked}").into_owned();
    }
    text
}

/// Replaces time stamps of log lines, pids, durations and descriptor numbers.
pub fn mask_volatile(text: &str) -> String {
    VOLATILE
        .iter()
        .fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

/// The first lines in which two texts differ, for the message of a failed test; `None` if they are equal.
pub fn difference(reference: &str, subject: &str) -> Option<String> {
    if reference == subject {
        return None;
    }
    let (left, right): (Vec<&str>, Vec<&str>) =
        (reference.split('\n').collect(), subject.split('\n').collect());
    let same_start = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let rest = left.len().min(right.len()) - same_start;
    let same_end = left.iter().rev().zip(right.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let column = match (left.get(same_start), right.get(same_start)) {
        (Some(a), Some(b)) => a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let mut text = format!("      first differing line: {}, column {}\n", same_start + 1, column + 1);
    // Of a long line the part around the difference.
    let skip = column.saturating_sub(80);
    for (sign, lines) in [("php-fpm", &left), ("cornac ", &right)] {
        let lines = &lines[same_start..lines.len() - same_end];
        for (number, line) in lines.iter().take(12).enumerate() {
            let skip = if number == 0 { skip } else { 0 };
            text.push_str(&format!(
                "      {sign} | {}\n",
                line.chars().skip(skip).take(300).collect::<String>()
            ));
        }
        if lines.len() > 12 {
            text.push_str(&format!("      {sign} | … {} more lines\n", lines.len() - 12));
        }
        if lines.is_empty() {
            text.push_str(&format!("      {sign} | (nothing)\n"));
        }
    }
    Some(text)
}
