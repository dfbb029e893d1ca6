//! Properties of the codec: round trips, and the rules of `checks` for arbitrary bytes and for the seeds
//! of the fuzz targets.

mod checks;

use std::{fs, path::Path};

use fastcgi::client::{self, Client, Request, Split};
use fastcgi::params::{Pairs, encode};
use fastcgi::record::{Header, ProtocolStatus, Role};
use fastcgi::response::{Stream, append_stream, end_request};
use fastcgi::server::{Event, Limits, Server};
use proptest::collection::vec;
use proptest::prelude::*;

type Params = Vec<(Vec<u8>, Vec<u8>)>;

fn params() -> impl Strategy<Value = Params> {
    let text = || prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 120..300)];
    vec((text(), text()), 0..12)
}

/// Records whose headers mostly make sense, so that more than the first is read.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => 1u8..=11, 1 => any::<u8>()];
    let id = prop_oneof![6 => Just(1u16), 1 => 0u16..4, 1 => any::<u16>()];
    let content = prop_oneof![2 => Just(Vec::new()), 2 => vec(any::<u8>(), 8), 4 => vec(any::<u8>(), 0..40)];
    let begin = prop_oneof![6 => Just(1u8), 1 => 0u8..5];
    let record = (kind, id, content, 0u8..20, begin).prop_map(|(kind, id, mut content, padding, role)| {
        if kind == 1 {
            content = vec![0, role, role & 1, 0, 0, 0, 0, 0];
        }
        let length = (content.len() as u16).to_be_bytes();
        let [id1, id0] = id.to_be_bytes();
        let mut out = vec![1, kind, id1, id0, length[0], length[1], padding, 0];
        out.append(&mut content);
        out.resize(out.len() + usize::from(padding), 0);
        out
    });
    vec(record, 0..30).prop_map(|records| records.concat())
}

/// Runs one request through the application's side in pieces of `piece` bytes.
fn decode(bytes: &[u8], piece: usize) -> (Option<fastcgi::server::Begin>, Vec<u8>, Vec<u8>, bool) {
    let mut server = Server::new(Limits::default());
    let (mut params, mut stdin) = (Vec::new(), Vec::new());
    for mut piece in bytes.chunks(piece) {
        while let (used, Some(event)) = server.next(piece).expect("a valid request") {
            match event {
                Event::Params(more) => params.extend_from_slice(more),
                Event::Stdin(more) => stdin.extend_from_slice(more),
                Event::Begin(_) | Event::ParamsEnd | Event::StdinEnd => {}
                Event::Abort { .. } | Event::Answer(_) => panic!("{event:?}"),
            }
            piece = &piece[used..];
        }
    }
    (server.request(), params, stdin, server.stdin_ended() && server.between_records())
}

proptest! {
    #[test]
    fn headers_round_trip(bytes: [u8; 8]) {
        let [v, t, i1, i0, l1, l0, p, _reserved] = bytes;
        prop_assert_eq!(Header::decode(bytes).encode(), [v, t, i1, i0, l1, l0, p, 0]);
    }

    #[test]
    fn params_round_trip(pairs in params()) {
        let stream = encode(pairs.iter().map(|(name, value)| (name, value)));
        let read: Params = Pairs::new(&stream).map(|pair| pair.unwrap()).map(|(n, v)| (n.into(), v.into())).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn requests_round_trip(
        pairs in params(),
        stdin in vec(any::<u8>(), 0..3000),
        request_id: u16,
        keep_connection: bool,
        split in (1usize..400, 1usize..400),
        piece in 1usize..4000,
    ) {
        let borrowed: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let split = Split { params: split.0, stdin: split.1 };
        let request =
            Request { request_id, role: Role::Responder, keep_connection, params: &borrowed, stdin: &stdin, split };
        let (begin, params, body, complete) = decode(&request.encode(), piece);
        let begin = begin.unwrap();
        prop_assert_eq!((begin.request_id, begin.keep_connection), (request_id, keep_connection));
        prop_assert_eq!(params, encode(borrowed));
        prop_assert_eq!(body, stdin);
        prop_assert!(complete);
    }

    #[test]
    fn responses_round_trip(content in vec(any::<u8>(), 0..3000), status: u32, request_id: u16) {
        let mut bytes = Vec::new();
        append_stream(&mut bytes, Stream::Stdout, request_id, &content);
        bytes.extend(end_request(request_id, status, ProtocolStatus::RequestComplete));
        let (mut client, mut stdout, mut rest) = (Client::new(), Vec::new(), &bytes[..]);
        let mut end = None;
        while let (used, Some(event)) = client.next(rest).unwrap() {
            match event {
                client::Event::Stdout(piece) => stdout.extend_from_slice(piece),
                client::Event::End { request_id, app_status, .. } => end = Some((request_id, app_status)),
                other => panic!("{other:?}"),
            }
            rest = &rest[used..];
        }
        prop_assert_eq!(stdout, content);
        prop_assert_eq!(end, Some((request_id, status)));
    }

    #[test]
    fn any_bytes_for_the_server(bytes in vec(any::<u8>(), 0..200)) {
        checks::server::check(&bytes);
    }

    #[test]
    fn any_records_for_the_server(choice: [u8; 3], records in records()) {
        checks::server::check(&[&choice[..], &records].concat());
    }

    #[test]
    fn any_bytes_for_the_client(bytes in vec(any::<u8>(), 0..200)) {
        checks::client::check(&bytes);
    }

    #[test]
    fn any_records_for_the_client(seed: u8, records in records()) {
        checks::client::check(&[&[seed][..], &records].concat());
    }

    #[test]
    fn any_bytes_for_params(bytes in vec(any::<u8>(), 0..200)) {
        checks::params(&bytes);
    }
}

fn seed(name: &str, choice: usize) -> Vec<u8> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seed");
    fs::read(seeds.join(name)).expect("a seed").split_off(choice)
}

#[test]
fn what_nginx_sends() {
    let (begin, params, stdin, complete) = decode(&seed("server/nginx-post", 3), usize::MAX);
    assert!(!begin.unwrap().keep_connection && complete);
    assert_eq!(stdin, b"quantity=100&item=3047936");
    let pairs: Vec<_> = Pairs::new(&params).collect::<Result<_, _>>().unwrap();
    for (name, value) in [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "25"), ("SCRIPT_NAME", "/form.php")]
    {
        assert!(pairs.contains(&(name.as_bytes(), value.as_bytes())), "{name}");
    }
}

#[test]
fn what_php_fpm_answers() {
    let bytes = seed("client/php-fpm-hello", 1);
    let mut client = Client::new();
    let (used, event) = client.next(&bytes).unwrap();
    let Some(client::Event::Stdout(response)) = event else { panic!("{event:?}") };
    assert!(response.ends_with(b"\r\n\r\nhello 1"));
    let protocol_status = ProtocolStatus::RequestComplete;
    let end = client::Event::End { request_id: 1, app_status: 0, protocol_status };
    assert_eq!(client.next(&bytes[used..]), Ok((16, Some(end))));
}

/// Runs a check over the seeds of a fuzz target; they are to be there.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seed").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the folder of seeds") {
        check(&fs::read(entry.expect("an entry").path()).expect("a seed"));
        count += 1;
    }
    assert!(count >= 5, "{count} seeds in {}", folder.display());
}

#[test]
fn seeds_of_the_fuzz_targets() {
    replay("server", checks::server::check);
    replay("client", checks::client::check);
    replay("params", checks::params);
}
