//! Names of parameters: the request header each stands for, and the ones a
//! script never gets to see.

/// Whether a parameter stays out of `$_SERVER`.
///
/// A client's `Proxy:` header would arrive as HTTP_PROXY, which HTTP clients take for the
/// address of their own proxy (PHP bug 72573). PHP 8.2 hides it in `getenv(name)` itself, in any case of
/// letters, but shows it in `getenv()` without a name and as `Proxy` in `getallheaders()`.
pub fn is_hidden(name: &[u8]) -> bool {
    name == b"HTTP_PROXY"
}

/// The request header a parameter stands for, as `getallheaders()` spells it: `HTTP_FOO_BAR` is `Foo-Bar`.
///
/// `None` for a parameter that is no header. The name is written into `buffer`, whose old content is lost.
pub fn header_name<'b>(name: &[u8], buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    buffer.clear();
    match name {
        b"CONTENT_TYPE" => buffer.extend_from_slice(b"Content-Type"),
        b"CONTENT_LENGTH" => buffer.extend_from_slice(b"Content-Length"),
        _ => {
            let header = name.strip_prefix(b"HTTP_").filter(|header| !header.is_empty())?;
            // The byte behind an underscore starts a word as it is, be it another underscore.
            let mut word_start = true;
            buffer.extend(header.iter().map(|&byte| match std::mem::take(&mut word_start) {
                true => byte,
                false if byte == b'_' => {
                    word_start = true;
                    b'-'
                }
                false => byte.to_ascii_lowercase(),
            }));
        }
    }
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_spelled_as_getallheaders_does() {
        let cases = [
            ("HTTP_FOO_BAR", Some("Foo-Bar")),
            ("HTTP_A", Some("A")),
            ("HTTP_", None),
            ("HTTP__X", Some("_x")),
            ("HTTP___", Some("_-")),
            ("HTTP_A__B", Some("A-_b")),
            ("HTTP_a_b", Some("a-b")),
            ("HTTP_FOO_", Some("Foo-")),
            ("HTTP_FOO-BAR", Some("Foo-bar")),
            ("HTTP_FOO.BAR_B", Some("Foo.bar-B")),
            ("HTTP_X123_4aB", Some("X123-4ab")),
            ("HTTP_X Y", Some("X y")),
            ("HTTP_HTTP_X", Some("Http-X")),
            ("HTTP_\u{c9}", Some("\u{c9}")),
            ("HTTP_PROXY", Some("Proxy")),
            ("CONTENT_TYPE", Some("Content-Type")),
            ("CONTENT_LENGTH", Some("Content-Length")),
            ("content_type", None),
            ("http_x", None),
            ("HTTPX", None),
            ("", None),
        ];
        let mut buffer = b"old".to_vec();
        for (name, expected) in cases {
            assert_eq!(header_name(name.as_bytes(), &mut buffer), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn only_the_exact_name_is_hidden() {
        assert!(is_hidden(b"HTTP_PROXY"));
        for name in ["http_proxy", "Http_Proxy", "HTTP_PROXYX", "HTTP_PROXY_AUTH", "HTTP_PROX"] {
            assert!(!is_hidden(name.as_bytes()), "{name}");
        }
    }
}
