//! Whether an `access.format` can be written, in php-fpm's order and words. Writing it is the worker's business.

/// The first problem of the format, php-fpm's warning.
pub(crate) fn check(format: &[u8]) -> Result<(), Vec<u8>> {
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = if byte == b'%' { token(after)? } else { after };
    }
    Ok(())
}

/// Longest modifier that is kept, as the buffer for it has 129 bytes.
const MAX_MODIFIER: usize = 128;

/// One specifier, behind its `%`; gives back what follows it. A lone `%` at the end is let pass.
fn token(rest: &[u8]) -> Result<&[u8], Vec<u8>> {
    let mut modifier: &[u8] = b"";
    let mut rest = rest;
    loop {
        let Some((&letter, after)) = rest.split_first() else { return Ok(rest) };
        if letter != b'{' {
            specifier(letter, modifier)?;
            return Ok(after);
        }
        let end = after.iter().position(|b| *b == b'}').filter(|end| end + 1 < after.len());
        let end = end.ok_or(&b"missing closing embrace in the access.format"[..])?;
        modifier = &after[..end.min(MAX_MODIFIER)];
        rest = &after[end + 1..];
    }
}

fn specifier(letter: u8, modifier: &[u8]) -> Result<(), Vec<u8>> {
    let words: &[&str] = match letter {
        b'C' => &["total", "user", "system"],
        b'd' => &["seconds", "milliseconds", "milli", "miliseconds", "mili", "microseconds", "micro"],
        b'M' => &["bytes", "kilobytes", "kilo", "megabytes", "mega"],
        b'e' if modifier.is_empty() => {
            return Err(b"the name of the environment variable must be set between embraces for %e".to_vec());
        }
        b'o' if modifier.is_empty() => {
            return Err(b"the name of the header must be set between embraces for %o".to_vec());
        }
        b'e' | b'o' | b't' | b'T' => return Ok(()),
        b'%' | b'f' | b'l' | b'm' | b'n' | b'p' | b'P' | b'q' | b'Q' | b'r' | b'R' | b's' | b'u' => {
            let refusal = [&b"embrace is not allowed for modifier %"[..], &[letter]].concat();
            return if modifier.is_empty() { Ok(()) } else { Err(refusal) };
        }
        _ => return Err([&b"Invalid token in the access.format (%"[..], &[letter], b")"].concat()),
    };
    if modifier.is_empty() || words.iter().any(|w| w.as_bytes().eq_ignore_ascii_case(modifier)) {
        return Ok(());
    }
    let allowed = match letter {
        b'C' => "'total', 'user' or 'system'",
        b'd' => "'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds'",
        _ => "'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes'",
    };
    let start = format!("only {allowed} are allowed as a modifier for %{} ('", letter as char);
    Err([start.as_bytes(), modifier, b"')"].concat())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn formats() {
        for (format, expected) in [
            ("%R - %u %t \"%m %r%Q%q\" %s %f %{milli}d %{kilo}M %C%%", ""),
            ("100%", ""),
            ("%{a}%", "embrace is not allowed for modifier %%"),
            ("%{x}", "missing closing embrace in the access.format"),
            ("%{x", "missing closing embrace in the access.format"),
            ("%}", "Invalid token in the access.format (%})"),
            ("%e", "the name of the environment variable must be set between embraces for %e"),
            ("%{}e", "the name of the environment variable must be set between embraces for %e"),
            ("%{a}{b}e", ""),
            ("%{x}C", "only 'total', 'user' or 'system' are allowed as a modifier for %C ('x')"),
        ] {
            let outcome =
                check(format.as_bytes()).map_or_else(|e| String::from_utf8(e).unwrap(), |()| String::new());
            assert_eq!(outcome, expected, "{format}");
        }
    }
}
