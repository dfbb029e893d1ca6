//! What comes out of a web server's bytes, by table; every input whole and in pieces.

use super::*;
use crate::client::{Request, Split, abort, begin, get_values};
use crate::params::{append_pair, encode};
use crate::response::append_record;

/// One step of a connection.
enum Step<'a> {
    Bytes(&'a [u8]),
    EndRequest,
}
use Step::{Bytes, EndRequest};

/// Events put together: neighbouring pieces of one stream joined, in words.
fn events(limits: Limits, steps: &[Step<'_>], split: usize) -> Vec<String> {
    let mut server = Server::new(limits);
    let mut out: Vec<String> = Vec::new();
    for step in steps {
        let Bytes(bytes) = step else {
            server.end_request();
            continue;
        };
        for mut piece in bytes.chunks(split) {
            loop {
                let (used, event) = match server.next(piece) {
                    Ok(step) => step,
                    Err(violation) => {
                        assert_eq!(server.next(b"more"), Err(violation), "an error is final");
                        out.push(format!("{violation:?}"));
                        return out;
                    }
                };
                piece = &piece[used..];
                let Some(event) = event else { break };
                add(&mut out, event);
            }
            assert_eq!(piece, b"", "all is used when no event is left");
        }
    }
    if server.between_records() {
        out.push("idle".into());
    }
    out
}

fn add(out: &mut Vec<String>, event: Event<'_>) {
    let (kind, text) = match event {
        Event::Params(piece) => ("params: ", String::from_utf8_lossy(piece).into_owned()),
        Event::Stdin(piece) => ("stdin: ", String::from_utf8_lossy(piece).into_owned()),
        Event::Begin(begin) => {
            out.push(format!("{} {:?} keep={}", begin.request_id, begin.role, begin.keep_connection));
            return;
        }
        Event::Answer(answer) => {
            let close = if answer.close() { " close" } else { "" };
            out.push(format!("answer {:?}{close}", answer.bytes()));
            return;
        }
        other => {
            out.push(format!("{other:?}"));
            return;
        }
    };
    match out.last_mut() {
        Some(last) if last.starts_with(kind) => last.push_str(&text),
        _ => out.push(format!("{kind}{text}")),
    }
}

fn check_with(limits: Limits, steps: &[Step<'_>], expected: &[&str]) {
    for split in [usize::MAX, 1, 2, 3, 5, 7, 8, 9, 15, 17] {
        assert_eq!(events(limits, steps, split), expected, "in pieces of {split}");
    }
}

fn check(steps: &[Step<'_>], expected: &[&str]) {
    check_with(Limits::default(), steps, expected);
}

fn record(kind: RecordType, request_id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_record(&mut out, kind, request_id, content);
    out
}

fn responder(request_id: u16) -> [u8; 16] {
    begin(request_id, Role::Responder, true)
}

fn request(request_id: u16, params: &[(&[u8], &[u8])], stdin: &[u8]) -> Vec<u8> {
    let (role, split) = (Role::Responder, Split::default());
    Request { request_id, role, keep_connection: true, params, stdin, split }.encode()
}

const BEGIN_1: &str = "1 Responder keep=true";

#[test]
fn requests_of_the_specification() {
    // FastCGI 1.0, appendix B: without and with a body, the parameters in one and in several records.
    let params: [(&[u8], &[u8]); 2] = [(b"SERVER_PORT", b"80"), (b"SERVER_ADDR", b"199.170.183.42")];
    let text = "params: \u{b}\u{2}SERVER_PORT80\u{b}\u{e}SERVER_ADDR199.170.183.42";
    check(&[Bytes(&request(1, &params, b""))], &[BEGIN_1, text, "ParamsEnd", "StdinEnd", "idle"]);
    let body = request(1, &params, b"quantity=100&item=3047936");
    let stdin = "stdin: quantity=100&item=3047936";
    check(&[Bytes(&body)], &[BEGIN_1, text, "ParamsEnd", stdin, "StdinEnd", "idle"]);
    for size in [1, 5, 8, 16] {
        let split = Split { params: size, stdin: size };
        let cut = Request {
            request_id: 1,
            role: Role::Responder,
            keep_connection: true,
            params: &params,
            stdin: b"quantity=100&item=3047936",
            split,
        };
        check(&[Bytes(&cut.encode())], &[BEGIN_1, text, "ParamsEnd", stdin, "StdinEnd", "idle"]);
    }
}

#[test]
fn a_kept_connection() {
    let both = [request(1, &[], b"one"), request(1, &[], b"two")];
    let one = &[BEGIN_1, "ParamsEnd", "stdin: one", "StdinEnd"][..];
    let two = &[BEGIN_1, "ParamsEnd", "stdin: two", "StdinEnd", "idle"][..];
    check(&[Bytes(&both[0]), EndRequest, Bytes(&both[1])], &[one, two].concat());
    // Left-overs before the next request, with and without the empty record that closes the body.
    let begin = responder(1);
    let rest = record(RecordType::Stdin, 1, b"rest");
    let closed = [&rest[..], &record(RecordType::Stdin, 1, b"")].concat();
    for left_over in [&b""[..], &rest, &closed, &[closed.clone(), closed.clone()].concat()] {
        let steps = [Bytes(&begin), EndRequest, Bytes(left_over), Bytes(&both[1])];
        check(&steps, &[&[BEGIN_1][..], two].concat());
    }
    // Ended in the middle of a record.
    let (front, back) = rest.split_at(10);
    let steps = [Bytes(&begin), Bytes(front), EndRequest, Bytes(back), Bytes(&both[1])];
    check(&steps, &[&[BEGIN_1, "ParamsEnd", "stdin: re"][..], two].concat());
}

#[test]
fn records_that_are_skipped() {
    let empty = record(RecordType::Stdin, 1, b"");
    check(&[Bytes(&[&empty[..], &empty, &responder(1)].concat())], &[BEGIN_1, "idle"]);
    for (kind, id, content) in [
        (RecordType::Params, 2, &b"\x01\x00a"[..]),
        (RecordType::Stdin, 2, b"x"),
        (RecordType::Stdin, 2, b""),
        (RecordType::Data, 1, b"file"),
        (RecordType::Data, 1, b""),
        (RecordType::AbortRequest, 2, b""),
        (RecordType::EndRequest, 1, b"12345678"),
        (RecordType::Stdout, 1, b"x"),
        (RecordType::GetValuesResult, 0, b"x"),
        (RecordType::UnknownType, 0, b"12345678"),
        (RecordType::Other(77), 1, b"x"),
    ] {
        let bytes = [&responder(1)[..], &record(kind, id, content)].concat();
        check(&[Bytes(&bytes)], &[BEGIN_1, "idle"]);
    }
    // The reserved bytes and padding of any length mean nothing; a later version is read.
    let odd = [&[2, 1, 0, 1, 0, 8, 255, 9][..], &[0, 1, 1, 9, 9, 9, 9, 9], &[7; 255]].concat();
    check(&[Bytes(&odd)], &[BEGIN_1, "idle"]);
}

#[test]
fn stdin_ends_open_parameters() {
    for (content, expected) in [(&b""[..], "StdinEnd"), (b"body", "stdin: body")] {
        let bytes = [&responder(1)[..], &record(RecordType::Stdin, 1, content)].concat();
        check(&[Bytes(&bytes)], &[BEGIN_1, "ParamsEnd", expected, "idle"]);
        check(&[Bytes(&responder(1)), Bytes(&[0, 5, 0, 1, 0, 0, 0, 0])], &[BEGIN_1, "Version"]);
    }
}

#[test]
fn aborts() {
    let bytes = [&responder(3)[..], &abort(3)].concat();
    check(&[Bytes(&bytes)], &["3 Responder keep=true", "Abort { request_id: 3 }", "idle"]);
    check(&[Bytes(&abort(3))], &["idle"]);
    check(&[Bytes(&responder(3)), EndRequest, Bytes(&abort(3))], &["3 Responder keep=true", "idle"]);
}

#[test]
fn refused_requests() {
    let second = [&responder(1)[..], &request(2, &[(b"a", b"b")], b"x")].concat();
    let answer = "answer [1, 3, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]";
    check(&[Bytes(&second)], &[BEGIN_1, answer, "idle"]);

    let unknown = "answer [1, 3, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]";
    for role in [Role::Authorizer, Role::Filter, Role::Other(0), Role::Other(0x0101)] {
        check(&[Bytes(&begin(2, role, true))], &[unknown, "idle"]);
        check(&[Bytes(&begin(2, role, false))], &[&format!("{unknown} close"), "idle"]);
    }
    let php_fpm = Limits { roles: Roles::Standard, ..Limits::default() };
    check_with(php_fpm, &[Bytes(&begin(2, Role::Filter, false))], &["2 Filter keep=false", "idle"]);
    check_with(php_fpm, &[Bytes(&begin(2, Role::Other(4), true))], &[unknown, "idle"]);
}

#[test]
fn management_records() {
    let ask =
        get_values(&[b"FCGI_MPXS_CONNS", b"FCGI_MAX_REQS", b"FCGI_MAX_CONNS", b"X", b"FCGI_MPXS_CONNS"]);
    let like_php_fpm = record(RecordType::GetValuesResult, 0, &encode([("FCGI_MPXS_CONNS", "0")]));
    check(&[Bytes(&ask)], &[&format!("answer {like_php_fpm:?}"), "idle"]);

    let values = Values { max_conns: Some(4_000_000_000), max_reqs: Some(4_294_967_295) };
    let mut content = Vec::new();
    for (name, value) in
        [("FCGI_MAX_CONNS", "4000000000"), ("FCGI_MAX_REQS", "4294967295"), ("FCGI_MPXS_CONNS", "0")]
    {
        append_pair(&mut content, name.as_bytes(), value.as_bytes());
    }
    let all = record(RecordType::GetValuesResult, 0, &content);
    assert_eq!(all.len(), 80);
    check_with(Limits { values, ..Limits::default() }, &[Bytes(&ask)], &[&format!("answer {all:?}"), "idle"]);

    check(&[Bytes(&get_values(&[]))], &["answer [1, 10, 0, 0, 0, 0, 0, 0]", "idle"]);
    let unknown = "answer [1, 11, 0, 0, 0, 8, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]";
    check(&[Bytes(&record(RecordType::Other(77), 0, b"x"))], &[unknown, "idle"]);
}

#[test]
fn violations() {
    let again = [responder(1), responder(1)].concat();
    for (bytes, expected) in [
        (&[0, 1, 0, 1, 0, 8, 0, 0][..], &["Version"][..]),
        (&[1, 1, 0, 1, 0, 7, 0, 0], &["BeginLength { length: 7 }"]),
        (&[1, 1, 0, 1, 0, 9, 0, 0], &["BeginLength { length: 9 }"]),
        (&[1, 1, 0, 1, 0, 0, 0, 0], &["BeginLength { length: 0 }"]),
        (&again, &[BEGIN_1, "BeginAgain { request_id: 1 }"]),
        (&record(RecordType::GetValues, 0, b"\x05"), &["MalformedGetValues"]),
    ] {
        check(&[Bytes(bytes)], expected);
    }
}

#[test]
fn limits() {
    let small = Limits { params: 10, idle_records: 2, ignored: 10, get_values: 4, ..Limits::default() };
    let params = |length| record(RecordType::Params, 1, &vec![b'p'; length]);
    let fits = [&responder(1)[..], &params(6), &params(4)].concat();
    check_with(small, &[Bytes(&fits)], &[BEGIN_1, "params: pppppppppp", "idle"]);
    let too_long = "ParamsTooLong { limit: 10 }";
    let longer = [fits, params(1)].concat();
    check_with(small, &[Bytes(&longer)], &[BEGIN_1, "params: pppppppppp", too_long]);
    check_with(small, &[Bytes(&responder(1)), Bytes(&params(11))], &[BEGIN_1, too_long]);

    let empty = record(RecordType::Stdin, 1, b"");
    check_with(small, &[Bytes(&empty.repeat(2))], &["idle"]);
    check_with(small, &[Bytes(&empty.repeat(3))], &["TooManyIdleRecords { limit: 2 }"]);
    let between = [&empty.repeat(2)[..], &responder(1), &abort(2), &abort(2), &params(1), &abort(2)].concat();
    check_with(small, &[Bytes(&between)], &[BEGIN_1, "params: p", "idle"]);

    let next = [&params(10)[..], &responder(2), &record(RecordType::Params, 2, b"1234567890")].concat();
    let begin_2 = "2 Responder keep=true";
    let steps = [Bytes(&responder(1)), Bytes(&next[..24]), EndRequest, Bytes(&next[24..])];
    check_with(small, &steps, &[BEGIN_1, "params: pppppppppp", begin_2, "params: 1234567890", "idle"]);

    let left_over = |length| record(RecordType::Stdin, 1, &vec![b'x'; length]);
    check_with(small, &[Bytes(&[left_over(6), left_over(4)].concat())], &["idle"]);
    check_with(small, &[Bytes(&left_over(11))], &["IgnoredTooLong { limit: 10 }"]);
    let steps = [&left_over(10)[..], &responder(2), &left_over(10)].concat();
    check_with(small, &[Bytes(&steps)], &["2 Responder keep=true", "idle"]);
    let ask = record(RecordType::GetValues, 0, b"\x03\0abc");
    check_with(small, &[Bytes(&ask)], &["GetValuesTooLong { limit: 4 }"]);
}

#[test]
fn answers_and_aborts_do_not_go_on_for_ever() {
    let limits = Limits { idle_records: 2, ..Limits::default() };
    let after_begin = |bytes: Vec<u8>| [&responder(1)[..], &bytes.repeat(3)].concat();
    for (bytes, count) in [
        (record(RecordType::Other(77), 0, b"x").repeat(3), 2),
        (get_values(&[b"FCGI_MPXS_CONNS"]).repeat(3), 2),
        (begin(1, Role::Filter, true).repeat(3), 2),
        (after_begin(responder(2).to_vec()), 3),
        (after_begin(abort(1).to_vec()), 3),
    ] {
        let seen = events(limits, &[Bytes(&bytes)], usize::MAX);
        assert_eq!(seen.len(), count + 1, "{seen:?}");
        assert_eq!(seen[count], "TooManyIdleRecords { limit: 2 }");
    }
}

#[test]
fn state_the_worker_asks_for() {
    let mut server = Server::new(Limits::default());
    let state = |server: &Server| {
        (server.request().map(|begin| begin.request_id), server.params_ended(), server.stdin_ended())
    };
    let bytes = request(5, &[], b"x");
    let mut seen = vec![state(&server)];
    let mut used = 0;
    while let (n, Some(_)) = server.next(&bytes[used..]).unwrap() {
        used += n;
        seen.push(state(&server));
    }
    server.end_request();
    seen.push(state(&server));
    let expected = [
        (None, false, false),
        (Some(5), false, false),
        (Some(5), true, false),
        (Some(5), true, false),
        (Some(5), true, true),
        (None, false, false),
    ];
    assert_eq!(seen, expected);
    assert!(server.between_records());
    assert_eq!(server.next(&bytes[..3]), Ok((3, None)));
    assert!(!server.between_records());
}
