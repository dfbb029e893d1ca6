//! The build id that every PHP and every engine carries ("API20220829,NTS"): version, thread model and debug build in one
//! word. Read from the files; nothing is executed. (A start asks the loaded engine, which looks into memory.)

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than any executable has; what lies behind is not looked at.
const MOST: u64 = 512 << 20;

/// What a file tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// It is a PHP, or an engine, of this build.
    Id(String),
    /// Its PHP is a library, `libphp`.
    InLibrary,
    /// It is no PHP.
    None,
}

/// Looks into a file.
pub(crate) fn of(path: &Path) -> io::Result<Build> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    let library = b"libphp";
    Ok(match find(&bytes) {
        Some(id) => Build::Id(id),
        None if bytes.windows(library.len()).any(|window| window == library) => Build::InLibrary,
        None => Build::None,
    })
}

/// "API", eight digits, a comma, and what follows up to a NUL. Those of Zend extensions have nine digits.
fn find(bytes: &[u8]) -> Option<String> {
    const WORD: &[u8] = b"API";
    const DIGITS: usize = 8;
    let mut rest = bytes;
    while let Some(at) = rest.windows(WORD.len()).position(|window| window == WORD) {
        rest = &rest[at + WORD.len()..];
        let (digits, after) = rest.split_at_checked(DIGITS)?;
        if digits.iter().all(u8::is_ascii_digit) && after.first() == Some(&b',') {
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b',';
            let id: Vec<u8> = digits.iter().chain(after.iter().take_while(is_part)).copied().collect();
            return Some(format!("API{}", String::from_utf8_lossy(&id)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn ids() {
        for (bytes, expected) in [
            (&b"x\0API20220829,NTS\0y"[..], Some("API20220829,NTS")),
            (b"API420220829,NTS\0API20220829,TS,debug\0", Some("API20220829,TS,debug")),
            (b"API20220829", None),
            (b"APIAPI20220829,NTS", Some("API20220829,NTS")),
            (b"API2022", None),
            (b"", None),
        ] {
            assert_eq!(find(bytes).as_deref(), expected, "{bytes:?}");
        }
    }
}
