//! A trace as php-fpm writes it into the slow log (fpm_php_trace's format).

use crate::Trace;

/// One entry. `stamp` is the time in php-fpm's brackets.
pub fn slow_log_entry(stamp: &str, pool: &str, pid: u32, trace: &Trace) -> Vec<u8> {
    let mut entry = format!("\n{stamp}  [pool {pool}] pid {pid}\n").into_bytes();
    if let Some(script) = &trace.script {
        entry.extend([b"script_filename = ", harmless(script).as_slice(), b"\n"].concat());
    }
    for frame in &trace.frames {
        entry.extend(format!("[0x{:016x}] ", frame.address).into_bytes());
        entry.extend(harmless(&frame.function));
        entry.extend(b"() ");
        entry.extend(if frame.file.is_empty() { b"unknown".to_vec() } else { harmless(&frame.file) });
        entry.extend(format!(":{}\n", frame.line).into_bytes());
    }
    if !trace.complete {
        entry.extend(b"+++ dump failed\n");
    }
    entry
}

/// A name cannot end a line.
fn harmless(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if byte.is_ascii_control() { b'.' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    #[test]
    fn entries_are_php_fpms() {
        let frame = |address, function: &str, file: &str, line| {
            let (function, file) = (function.into(), file.into());
            Frame { address, function, file, line }
        };
        let trace = Trace {
            script: Some(b"/srv/www/slow.php".to_vec()),
            frames: vec![
                frame(0x7f73_8d81_31a0, "usleep", "/srv/www/inc.php", 1),
                frame(0x7f73_8d81_3020, "[INCLUDE_OR_EVAL]", "", 0),
            ],
            complete: true,
        };
        let entry = slow_log_entry("[21-Nov-2026 00:18:35]", "www", 6197, &trace);
        let expected = "\n[21-Nov-2026 00:18:35]  [pool www] pid 6197\n\
            script_filename = /srv/www/slow.php\n\
            [0x00007f738d8131a0] usleep() /srv/www/inc.php:1\n\
            [0x00007f738d813020] [INCLUDE_OR_EVAL]() unknown:0\n";
        assert_eq!(String::from_utf8(entry).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_said_and_names_cannot_forge_lines() {
        let trace = Trace { script: Some(b"/a\n[0x0] b\xc3\xa9".to_vec()), ..Trace::default() };
        let entry = slow_log_entry("[t]", "p", 1, &trace);
        let expected = "\n[t]  [pool p] pid 1\nscript_filename = /a.[0x0] b\u{e9}\n+++ dump failed\n";
        assert_eq!(String::from_utf8(entry).unwrap(), expected);
        let nothing = slow_log_entry("[t]", "p", 1, &Trace::default());
        assert_eq!(nothing, b"\n[t]  [pool p] pid 1\n+++ dump failed\n");
    }
}
