//! Patterns of `include`, as glob(3) with GLOB_ERR and GLOB_MARK treats them: bytes, hidden files only when asked
//! for, an unreadable directory is an error. (The `glob` crate wants UTF-8 and skips such directories.)

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::GlobError;
use crate::model::{bytes_path, path_bytes};

/// The existing paths that match, sorted by their bytes, directories with a `/` at the end.
pub(crate) fn expand(pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
    let start = if pattern.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
    let parts: Vec<&[u8]> = pattern.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
    // What stands before the first wildcard is taken as it is: a folder missing there is an error when it is opened.
    let last = parts.len().saturating_sub(1);
    let plain = parts.iter().take(last).take_while(|p| !is_wild(p)).count();
    let base = parts[..plain].iter().fold(start, |base, part| join(&base, &unescape(part)));
    let mut found = vec![base];
    for part in &parts[plain..] {
        let mut next = Vec::new();
        for base in &found {
            descend(base, part, &mut next)?;
        }
        found = next;
    }
    if pattern.ends_with(b"/") {
        found.retain(|p| is_directory(p));
    }
    if pattern.is_empty() || found.is_empty() {
        return Err(GlobError::NoMatch);
    }
    found.sort();
    Ok(found.into_iter().map(mark).collect())
}

/// Adds what `part` matches below `base`.
fn descend(base: &[u8], part: &[u8], found: &mut Vec<Vec<u8>>) -> Result<(), GlobError> {
    if !is_wild(part) {
        let path = join(base, &unescape(part));
        if fs::symlink_metadata(bytes_path(&path)).is_ok() {
            found.push(path);
        }
        return Ok(());
    }
    let directory = if base.is_empty() { b".".as_slice() } else { base };
    let entries = match fs::read_dir(bytes_path(directory)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
        Err(_) => return Err(GlobError::Aborted),
    };
    let mut names = vec![b".".to_vec(), b"..".to_vec()];
    for entry in entries {
        names.push(entry.map_err(|_| GlobError::Aborted)?.file_name().as_bytes().to_vec());
    }
    let hidden = part.starts_with(b".") || part.starts_with(b"\\.");
    found.extend(
        names
            .iter()
            .filter(|n| hidden || !n.starts_with(b"."))
            .filter(|n| matches(part, n))
            .map(|n| join(base, n)),
    );
    Ok(())
}

fn is_wild(part: &[u8]) -> bool {
    part.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if base.is_empty() || base.ends_with(b"/") { b"" } else { b"/" };
    [base, slash, name].concat()
}

fn mark(path: Vec<u8>) -> PathBuf {
    if is_directory(&path) && !path.ends_with(b"/") {
        bytes_path(&[path, b"/".to_vec()].concat())
    } else {
        bytes_path(&path)
    }
}

fn is_directory(path: &[u8]) -> bool {
    fs::metadata(Path::new(&bytes_path(path))).is_ok_and(|m| m.is_dir())
}

fn unescape(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    out
}

/// Whether a file name matches: `*`, `?`, `[a-z]`, `[!…]`, `\x`. Going back only to the last star keeps it quadratic.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(_) => single(&pattern[p..], name[n]),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Length of the pattern's first element if it matches the byte.
fn single(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        b'[' => match bracket(pattern) {
            Some((length, set)) => set(byte).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        literal => (literal == byte).then_some(1),
    }
}

/// A bracket expression: its length and the test; `None` when it is never closed.
fn bracket(pattern: &[u8]) -> Option<(usize, impl Fn(u8) -> bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|b| *b == b']')?;
    let set = pattern[first..end].to_vec();
    let inside = move |byte: u8| {
        let mut at = 0;
        while at < set.len() {
            if at + 2 < set.len() && set[at + 1] == b'-' {
                if (set[at]..=set[at + 2]).contains(&byte) {
                    return true;
                }
                at += 3;
            } else if set[at] == byte {
                return true;
            } else {
                at += 1;
            }
        }
        false
    };
    Some((end + 1, move |byte| inside(byte) != negated))
}

/// The pattern of an `include`, made absolute elsewhere, as bytes.
pub(crate) fn ends_in_slash(path: &Path) -> bool {
    path_bytes(path).ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("a*b*c", "aXbbYc", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x", "[]x", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn directories_are_marked_and_errors_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("b.conf"), "").unwrap();
        fs::write(at("a.conf"), "").unwrap();
        fs::write(at(".c.conf"), "").unwrap();
        fs::create_dir(at("d.conf")).unwrap();
        let names = |pattern: &str| expand(path_bytes(&at(pattern)));
        assert_eq!(names("*.conf"), Ok(vec![at("a.conf"), at("b.conf"), at("d.conf/")]));
        assert!(ends_in_slash(&names("d*").unwrap()[0]));
        assert_eq!(names("x*"), Err(GlobError::NoMatch));
        assert_eq!(names("none/*"), Err(GlobError::Aborted));
        assert_eq!(names("none/x"), Err(GlobError::NoMatch));
        assert_eq!(names("*/*"), Err(GlobError::NoMatch));
    }
}
