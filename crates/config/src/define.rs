//! The settings of `-d name=value`, by the rules PHP puts them together: one text, read like a php.ini.

use crate::Host;
use crate::ini::{Entry, parse_line};

/// The value that `name` gets, the last one; `None` if it gets none.
pub fn defined(defines: &[Vec<u8>], name: &[u8], host: &dyn Host) -> Option<Vec<u8>> {
    let text: Vec<u8> = defines.iter().flat_map(|define| line(define)).collect();
    let mut found = None;
    let outcome = parse_line(&text, host, &mut |entry| match entry {
        Entry::Plain { name: given, value: Some(value) } if given == name => found = Some(value),
        _ => {}
    });
    // What stands before a syntax error counts.
    let _ = outcome;
    found
}

/// Without a value it is 1; a value that begins like an expression is quoted.
fn line(define: &[u8]) -> Vec<u8> {
    let Some(equals) = define.iter().position(|byte| *byte == b'=') else {
        return [define, b"=1\n"].concat();
    };
    let (name, value) = (&define[..equals], &define[equals + 1..]);
    match value.first() {
        Some(first) if !first.is_ascii_alphanumeric() && !b"\"'".contains(first) => {
            [name, b"=\"", value, b"\"\n"].concat()
        }
        _ => [define, b"\n"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn values() {
        for (defines, expected) in [
            (&["a=b"][..], Some("b")),
            (&["a"], Some("1")),
            (&["a=on"], Some("1")),
            (&["a="], Some("")),
            (&["a=/x"], Some("/x")),
            (&["a= x"], Some(" x")),
            (&["a='x y'"], Some("x y")),
            (&["a=\"x\""], Some("x")),
            (&["a=1", "b=2", "a=3"], Some("3")),
            (&["b=1\na=2"], Some("2")),
            (&["A=1"], None),
            (&["a=1", "b=1(", "a=2"], Some("1")),
            (&["[x]", "a=1"], None),
            (&["", "=", "a=1"], None),
        ] {
            let defines: Vec<Vec<u8>> = defines.iter().map(|define| define.as_bytes().to_vec()).collect();
            let found = defined(&defines, b"a", &Fake::default()).map(|v| String::from_utf8(v).unwrap());
            assert_eq!(found.as_deref(), expected, "{defines:?}");
        }
    }
}
