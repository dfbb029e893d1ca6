//! Numbers as the C library reads them from text: leading blanks, an optional
//! sign, digits, and whatever follows is ignored. Never fails.

/// The value of CONTENT_LENGTH in bytes; 0 when it is missing, negative or no number at all.
///
/// Read like `atol(3)`: `" 12abc"` is 12, and a number too large for the type is the largest one.
pub fn content_length(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |text| u64::try_from(leading_integer(text)).unwrap_or(0))
}

/// `atol(3)` of glibc, which stops at the type's limits instead of wrapping.
pub(crate) fn leading_integer(text: &[u8]) -> i64 {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[blanks..];
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
    digits.fold(0_i64, |value, digit| {
        let shifted = value.saturating_mul(10);
        if negative { shifted.saturating_sub(digit) } else { shifted.saturating_add(digit) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_read_like_atol() {
        let cases: &[(&[u8], u64)] = &[
            (b"", 0),
            (b"0", 0),
            (b"12", 12),
            (b"+12", 12),
            (b" \t\n\x0b\x0c\r12", 12),
            (b"12abc", 12),
            (b"1 2", 1),
            (b"0x10", 0),
            (b"- 5", 0),
            (b"+-5", 0),
            (b"-5", 0),
            (b"abc", 0),
            (b"12\x0034", 12),
            (b"9223372036854775807", i64::MAX as u64),
            (b"9223372036854775808", i64::MAX as u64),
            (b"99999999999999999999999999", i64::MAX as u64),
            (b"-99999999999999999999999999", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(content_length(Some(text)), *expected, "{:?}", text.escape_ascii().to_string());
        }
        assert_eq!(content_length(None), 0);
    }

    #[test]
    fn negative_numbers_stop_at_the_limit() {
        assert_eq!(leading_integer(b"-17"), -17);
        assert_eq!(leading_integer(b"-9223372036854775808"), i64::MIN);
        assert_eq!(leading_integer(b"-9223372036854775809"), i64::MIN);
    }
}
