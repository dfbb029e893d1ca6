//! What comes out of an application's bytes, whole and byte by byte.

use super::*;
use crate::record::Role;
use crate::response::{Stream, append_stream, end_request, stream_header};

/// Events put together: neighbouring pieces of one stream joined, in words.
fn events(bytes: &[u8], split: usize) -> Vec<String> {
    let mut client = Client::new();
    let mut out: Vec<String> = Vec::new();
    let mut add = |kind: &str, piece: &[u8]| {
        let text = String::from_utf8_lossy(piece);
        match out.last_mut() {
            Some(last) if !piece.is_empty() && last.starts_with(kind) => last.push_str(&text),
            _ => out.push(format!("{kind}{text}")),
        }
    };
    for mut piece in bytes.chunks(split) {
        loop {
            let (used, event) = match client.next(piece) {
                Ok(step) => step,
                Err(violation) => {
                    add(&format!("{violation:?}"), b"");
                    return out;
                }
            };
            piece = &piece[used..];
            match event {
                None => break,
                Some(Event::Stdout(text)) => add("out: ", text),
                Some(Event::Stderr(text)) => add("err: ", text),
                Some(event) => add(&format!("{event:?}"), b""),
            }
        }
        assert_eq!(piece, b"");
    }
    out
}

fn check(bytes: &[u8], expected: &[&str]) {
    for split in [bytes.len().max(1), 1, 3, 7, 9] {
        assert_eq!(events(bytes, split), expected, "in pieces of {split}");
    }
}

#[test]
fn answers_of_the_specification() {
    // FastCGI 1.0, appendix B, examples 1 and 3: a response, and one with an error message.
    let mut ok = Vec::new();
    append_stream(&mut ok, Stream::Stdout, 1, b"Content-type: text/html\r\n\r\n<html>\n<head> ... ");
    ok.extend(stream_header(Stream::Stdout, 1, 0));
    ok.extend(end_request(1, 0, ProtocolStatus::RequestComplete));
    let end = "End { request_id: 1, app_status: 0, protocol_status: RequestComplete }";
    check(&ok, &["out: Content-type: text/html\r\n\r\n<html>\n<head> ... ", "StdoutEnd", end]);

    let mut failed = Vec::new();
    append_stream(&mut failed, Stream::Stdout, 1, b"Content-type: text/html\r\n\r\n<ht");
    append_stream(&mut failed, Stream::Stderr, 1, b"config error: missing SI_UID\n");
    failed.extend(stream_header(Stream::Stdout, 1, 0));
    failed.extend(stream_header(Stream::Stderr, 1, 0));
    failed.extend(end_request(1, 938, ProtocolStatus::RequestComplete));
    let end = "End { request_id: 1, app_status: 938, protocol_status: RequestComplete }";
    check(
        &failed,
        &[
            "out: Content-type: text/html\r\n\r\n<ht",
            "err: config error: missing SI_UID\n",
            "StdoutEnd",
            "StderrEnd",
            end,
        ],
    );
}

#[test]
fn management_answers() {
    check(&[1, 10, 0, 0, 0, 0, 0, 0], &["Values([])"]);
    check(b"\x01\x0a\0\0\0\x04\x04\0\x01\x01ab\0\0\0\0", &["Values([1, 1, 97, 98])"]);
    check(&[1, 11, 0, 0, 0, 8, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0], &["UnknownType(77)"]);
}

#[test]
fn what_an_application_may_not_send() {
    check(&[0, 6, 0, 1, 0, 0, 0, 0], &["Version"]);
    check(&[1, 3, 0, 1, 0, 7, 0, 0], &["BodyLength { kind: EndRequest, length: 7 }"]);
    check(&[1, 11, 0, 0, 0, 0, 0, 0], &["BodyLength { kind: UnknownType, length: 0 }"]);
    check(&begin(1, Role::Responder, false), &["Unexpected { kind: BeginRequest }"]);
    check(&[1, 99, 0, 0, 0, 0, 0, 0], &["Unexpected { kind: Other(99) }"]);
}

#[test]
fn every_record_says_its_request() {
    let mut bytes = Vec::new();
    append_stream(&mut bytes, Stream::Stdout, 7, b"x");
    bytes.extend(end_request(9, 0, ProtocolStatus::CantMpxConn));
    let mut client = Client::new();
    let (used, event) = client.next(&bytes).unwrap();
    assert_eq!((event, client.request_id()), (Some(Event::Stdout(b"x")), 7));
    assert!(client.between_records());
    client.next(&bytes[used..]).unwrap();
    assert_eq!(client.request_id(), 9);
}
