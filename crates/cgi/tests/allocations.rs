//! The usual request costs no memory: neither finding its script nor writing
//! its head into a buffer that is large enough.

use cgi::script::{Files, Params, Settings, extension_allowed, resolve};
use cgi::{content_length, head};

struct Sent(&'static [(&'static str, &'static str)]);

impl Params for Sent {
    fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(sent, _)| sent.as_bytes() == name).map(|(_, value)| value.as_bytes())
    }
}

struct AllThere;

impl Files for AllThere {
    fn resolves(&self, _: &[u8]) -> bool {
        true
    }

    fn is_regular_file(&self, _: &[u8]) -> bool {
        panic!("an existing script needs no second look")
    }
}

#[track_caller]
fn assert_free(work: impl FnOnce()) {
    let counted = allocation_counter::measure(work);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn an_existing_script_is_found_without_allocating() {
    let nginx = Sent(&[
        ("SCRIPT_FILENAME", "/w/index.php"),
        ("SCRIPT_NAME", "/index.php"),
        ("PATH_INFO", ""),
        ("DOCUMENT_ROOT", "/w"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
    ]);
    assert_free(|| {
        let resolved = resolve(&nginx, &Settings::default(), &AllThere);
        assert!(extension_allowed(resolved.script.as_deref().unwrap_or_default(), &[".php"]));
        assert_eq!(content_length(Some(b"12")), 12);
    });
}

#[test]
fn a_head_is_written_without_allocating() {
    let headers = ["X-Powered-By: PHP/8.2.35", "Status: 404 Gone", "Content-type: text/html; charset=UTF-8"];
    let status = head::Status { code: 599, line: None, nph: false, rfc2616_headers: false };
    let mut out = Vec::with_capacity(256);
    assert_free(|| head::encode(status, headers[..1].iter().map(|header| header.as_bytes()), &mut out));
    assert_free(|| head::encode(status, headers.iter().map(|header| header.as_bytes()), &mut out));
}

#[test]
fn a_long_status_line_needs_no_more_room_than_it_is_cut_to() {
    let line = [b"HTTP/1.1 404 ".as_slice(), &[b'r'; 5000]].concat();
    let status = head::Status { code: 404, line: Some(&line), nph: false, rfc2616_headers: false };
    let mut out = Vec::with_capacity(1023 + 4);
    assert_free(|| head::encode(status, std::iter::empty(), &mut out));
}
