//! Texts of a request made safe for a form, as PHP's functions do it that php-fpm calls: `htmlspecialchars` with
//! ENT_COMPAT, ENT_XML1 and ENT_DISALLOWED, and `json_encode` with JSON_INVALID_UTF8_IGNORE.

use super::Form;

/// Appends the text; plain text stays as it is.
pub(super) fn write(form: Form, text: &[u8], utf8: bool, page: &mut Vec<u8>) {
    match form {
        Form::Html | Form::Xml if utf8 => markup(text, page),
        Form::Html | Form::Xml => markup_bytes(text, page),
        Form::Json => json(text, page),
        Form::Text | Form::OpenMetrics => page.extend_from_slice(text),
    }
}

/// A text that is not UTF-8 as a whole is not shown at all.
fn markup(text: &[u8], page: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    for letter in text.chars() {
        match entity(letter) {
            Some(entity) => page.extend_from_slice(entity),
            None if is_allowed(letter) => page.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
            None => page.extend("\u{fffd}".bytes()),
        }
    }
}

/// For the other character sets PHP may be set to: what is above ASCII passes.
fn markup_bytes(text: &[u8], page: &mut Vec<u8>) {
    for byte in text {
        match entity(char::from(*byte)) {
            Some(entity) => page.extend_from_slice(entity),
            None if *byte >= 0x80 || is_allowed(char::from(*byte)) => page.push(*byte),
            None => page.extend_from_slice(b"&#xFFFD;"),
        }
    }
}

fn entity(letter: char) -> Option<&'static [u8]> {
    match letter {
        '&' => Some(b"&amp;"),
        '<' => Some(b"&lt;"),
        '>' => Some(b"&gt;"),
        '"' => Some(b"&quot;"),
        _ => None,
    }
}

/// XML 1.0 §2.2.
fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn json(mut text: &[u8], page: &mut Vec<u8>) {
    while let Some((&byte, rest)) = text.split_first() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'/' => b"\\/",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b' '..=0x7f => &[byte],
            _ => {
                let (length, letter) = first_char(text);
                let mut units = [0; 2];
                let units = letter.map_or(&[][..], |letter| letter.encode_utf16(&mut units));
                units.iter().for_each(|unit| page.extend(format!("\\u{unit:04x}").bytes()));
                text = &text[length..];
                continue;
            }
        };
        page.extend_from_slice(escape);
        text = rest;
    }
}

/// The first character, or what PHP skips instead of one: as many bytes as the first one announces, up to one that
/// could begin a character.
fn first_char(text: &[u8]) -> (usize, Option<char>) {
    let announced = match text[0] {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (1, None),
    };
    let begins = |byte: &u8| matches!(byte, 0..=0x7f | 0xc2..=0xf4);
    let end = (1..announced).find(|at| text.get(*at).is_none_or(begins));
    match end {
        Some(end) => (end, None),
        None => {
            let letter = std::str::from_utf8(&text[..announced]).ok();
            (announced, letter.and_then(|letter| letter.chars().next()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(form: Form, text: &[u8], utf8: bool) -> Vec<u8> {
        let mut page = Vec::new();
        write(form, text, utf8, &mut page);
        page
    }

    #[test]
    fn markup_loses_what_xml_forbids() {
        let check = |text: &[u8], expected: &str| {
            assert_eq!(String::from_utf8(escaped(Form::Xml, text, true)).unwrap(), expected);
        };
        check(b"a\"<b>&'c", "a&quot;&lt;b&gt;&amp;'c");
        check("é€😀\u{7f}\u{85}".as_bytes(), "é€😀\u{7f}\u{85}");
        check("\t\r\n\u{1}\u{fffe}\u{ffff}\u{1ffff}".as_bytes(), "\t\r\n\u{fffd}\u{fffd}\u{fffd}\u{1ffff}");
        check(b"all of it \xff", "");
        assert_eq!(escaped(Form::Html, b"\xff\x01<", false), b"\xff&#xFFFD;&lt;");
    }

    #[test]
    fn json_is_ascii_and_skips_what_is_no_utf8() {
        let check = |text: &[u8], expected: &str| {
            assert_eq!(String::from_utf8(escaped(Form::Json, text, true)).unwrap(), expected);
        };
        check(b"/a\"\\\x08\x0c\n\r\t\x01\x7f", "\\/a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f");
        check("é€😀".as_bytes(), "\\u00e9\\u20ac\\ud83d\\ude00");
        check(b"a\xe2\x82b\xe2b\xffc\xc3\xffd\xed\xa0\x80e\xf0\x9f", "abbcde");
        check(b"\xe2\xff\x82x\xc3", "x");
    }
}
