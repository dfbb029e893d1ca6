//! What systemd's socket activation says in the environment (sd_listen_fds(3)): which descriptors this process was
//! started with, and what they are called. Variables in, numbers and complaints out; nothing is opened or closed here.

use std::os::fd::RawFd;

/// The variables. They are for the process they name, and for nobody it starts.
pub(crate) const VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];
/// The first descriptor; the others follow.
const FIRST: RawFd = 3;
/// More are not believed: hundreds of pools have their place in it.
const MOST: i32 = 4096;

/// One descriptor that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) number: RawFd,
    /// Several may have the same.
    pub(crate) name: Option<Vec<u8>>,
}

/// Everything that was handed in, and what is wrong with the variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) passed: Vec<Passed>,
    pub(crate) complaints: Vec<String>,
}

/// What the variables say to the process `pid`. `pidfd_id` tells the number that the kernel has for it besides, if
/// there is one.
pub(crate) fn read(
    env: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    pid: u32,
    pidfd_id: &dyn Fn() -> Option<u64>,
) -> Announced {
    let text = |name: &str| env(name.as_bytes()).map(|value| String::from_utf8_lossy(&value).into_owned());
    let Some(count) = text("LISTEN_FDS") else { return Announced::default() };
    let refused = |complaint: String| Announced { passed: Vec::new(), complaints: vec![complaint] };
    let Some(receiver) = text("LISTEN_PID") else {
        return refused("LISTEN_FDS without LISTEN_PID is meant for nobody, ignored".to_owned());
    };
    if number(&receiver) != Some(i64::from(pid)) {
        let advice = "a script that starts php-fpm has to do so with exec";
        return refused(format!(
            "LISTEN_FDS is meant for process '{}' and this is {pid}, ignored; {advice}",
            printable(&receiver)
        ));
    }
    if let (Some(receiver), Some(own)) = (text("LISTEN_PIDFDID"), pidfd_id())
        && receiver.parse() != Ok(own)
    {
        let text =
            format!("LISTEN_FDS is meant for another process {pid} than this (LISTEN_PIDFDID), ignored");
        return refused(text);
    }
    let Some(count) = number(&count).and_then(|count| i32::try_from(count).ok()).filter(|n| *n <= MOST)
    else {
        let allowed = format!("a whole number up to {MOST}");
        return refused(format!("LISTEN_FDS: '{}' is not {allowed}, ignored", printable(&count)));
    };
    let (names, complaint) = names(env(b"LISTEN_FDNAMES"), count);
    let passed = (FIRST..FIRST + count).zip(names);
    Announced {
        passed: passed.map(|(number, name)| Passed { number, name }).collect(),
        complaints: complaint.into_iter().collect(),
    }
}

/// A name for each descriptor; those that do not say for which they are say nothing.
fn names(text: Option<Vec<u8>>, count: i32) -> (Vec<Option<Vec<u8>>>, Option<String>) {
    let count = usize::try_from(count).unwrap_or(0);
    let unnamed = vec![None; count];
    let Some(text) = text else { return (unnamed, None) };
    let names: Vec<_> = text.split(|byte| *byte == b':').map(|name| Some(name.to_vec())).collect();
    if names.len() == count {
        return (names, None);
    }
    let told = format!("LISTEN_FDNAMES has {} name(s) for {count} descriptor(s), ignored", names.len());
    (unnamed, Some(told).filter(|_| count > 0))
}

/// Digits only.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn printable(text: &str) -> String {
    crate::log::printable(&text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(variables: &[(&str, &str)], pidfd_id: Option<u64>) -> Announced {
        let env = |name: &[u8]| {
            let found = variables.iter().find(|(known, _)| known.as_bytes() == name)?;
            Some(found.1.as_bytes().to_vec())
        };
        read(&env, 42, &|| pidfd_id)
    }

    fn check(variables: &[(&str, &str)], expected: &[(RawFd, Option<&str>)], complaint: &str) {
        let found = announced(variables, Some(7));
        let passed: Vec<_> = found
            .passed
            .iter()
            .map(|passed| {
                (passed.number, passed.name.as_ref().map(|name| std::str::from_utf8(name).unwrap()))
            })
            .collect();
        assert_eq!(passed, expected, "{variables:?}");
        assert_eq!(found.complaints.len(), usize::from(!complaint.is_empty()), "{:?}", found.complaints);
        assert!(found.complaints.iter().all(|text| text.contains(complaint)), "{:?}", found.complaints);
    }

    #[test]
    fn descriptors_are_those_from_3_on_with_their_names() {
        check(&[], &[], "");
        check(&[("LISTEN_PID", "42"), ("LISTEN_FDNAMES", "a")], &[], "");
        let two = [("LISTEN_FDS", "2"), ("LISTEN_PID", "42")];
        check(&two, &[(3, None), (4, None)], "");
        let named = [&two[..], &[("LISTEN_FDNAMES", "www:api")]].concat();
        check(&named, &[(3, Some("www")), (4, Some("api"))], "");
        let twice = [&two[..], &[("LISTEN_FDNAMES", "php.socket:php.socket")]].concat();
        check(&twice, &[(3, Some("php.socket")), (4, Some("php.socket"))], "");
        check(&[("LISTEN_FDS", "0"), ("LISTEN_PID", "42")], &[], "");
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        check(&[("LISTEN_FDS", "1")], &[], "meant for nobody");
        for pid in ["43", "", "42x", "-42", "+42", "99999999999999999999"] {
            check(&[("LISTEN_FDS", "1"), ("LISTEN_PID", pid)], &[], "is meant for process");
        }
        let with = |id| [("LISTEN_FDS", "1"), ("LISTEN_PID", "42"), ("LISTEN_PIDFDID", id)];
        check(&with("7"), &[(3, None)], "");
        for id in ["8", "", "x"] {
            check(&with(id), &[], "another process 42");
        }
        // A kernel without such numbers cannot be asked.
        assert_eq!(announced(&with("8"), None).passed.len(), 1);
    }

    #[test]
    fn nonsense_is_told_and_no_more() {
        for count in ["", "x", "-1", "1x", "4097", "99999999999999999999", "\u{1b}[31m"] {
            check(&[("LISTEN_FDS", count), ("LISTEN_PID", "42")], &[], "is not a whole number up to 4096");
        }
        for names in ["", "a:b", ":::"] {
            let variables = [("LISTEN_FDS", "3"), ("LISTEN_PID", "42"), ("LISTEN_FDNAMES", names)];
            check(&variables, &[(3, None), (4, None), (5, None)], "for 3 descriptor(s), ignored");
        }
        let found = announced(&[("LISTEN_FDS", "\u{1b}[31m"), ("LISTEN_PID", "42")], None);
        assert!(!found.complaints[0].contains('\u{1b}'), "{:?}", found.complaints);
    }
}
