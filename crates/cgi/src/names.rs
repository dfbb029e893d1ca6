//! Names of parameters: the request header each stands for, and the ones a
//! script never gets to see.

/// Whether a parameter stays hidden from `$_SERVER` and `getenv()`.
///
/// A client's `Proxy:` header would arrive as HTTP_PROXY, which HTTP clients take for the
/// address of their own proxy (PHP bug 72573).
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
