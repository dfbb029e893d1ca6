//! The rules for the web server's side.
//!
//! The first byte of an input chooses the split; the rest is what the application sends.

use super::{Cut, assert_inside};
use fastcgi::client::{Client, Event, Violation};
use fastcgi::record::MAX_CONTENT;

/// An event with its request, streams put together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Stdout(u16, Vec<u8>),
    Stderr(u16, Vec<u8>),
    Other(u16, Event<'static>),
    Violation(Violation),
}

/// Any bytes after one that chooses.
pub(crate) fn check(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let [whole, pieces] = Cut::two(seed).map(|cut| run(bytes, cut));
    assert_eq!(whole, pieces, "the events depend on the split");
}

fn run(mut bytes: &[u8], mut cut: Cut) -> Vec<Seen> {
    let mut client = Client::new();
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let (piece, behind) = cut.split(bytes);
        if let Err(violation) = feed(&mut client, piece, &mut seen) {
            assert_eq!(client.next(behind), Err(violation), "an error is final");
            seen.push(Seen::Violation(violation));
            return seen;
        }
        bytes = behind;
    }
    seen
}

fn feed(client: &mut Client, mut piece: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
    loop {
        let (used, event) = client.next(piece)?;
        assert!(client.kept() <= MAX_CONTENT, "too much kept");
        let Some(event) = event else {
            assert_eq!(used, piece.len(), "asks for more, but has not used all");
            return Ok(());
        };
        assert!(used > 0, "no progress");
        note(client.request_id(), event, piece, seen);
        piece = &piece[used..];
    }
}

fn note(id: u16, event: Event<'_>, input: &[u8], seen: &mut Vec<Seen>) {
    if let Event::Stdout(piece) | Event::Stderr(piece) = event {
        assert_inside(piece, input);
    }
    let event = match (event, seen.last_mut()) {
        (Event::Stdout(piece), Some(Seen::Stdout(last, all))) if *last == id => {
            return all.extend_from_slice(piece);
        }
        (Event::Stderr(piece), Some(Seen::Stderr(last, all))) if *last == id => {
            return all.extend_from_slice(piece);
        }
        (event, _) => event,
    };
    seen.push(match event {
        Event::Stdout(piece) => Seen::Stdout(id, piece.to_vec()),
        Event::Stderr(piece) => Seen::Stderr(id, piece.to_vec()),
        Event::StdoutEnd => Seen::Other(id, Event::StdoutEnd),
        Event::StderrEnd => Seen::Other(id, Event::StderrEnd),
        Event::End { request_id, app_status, protocol_status } => {
            Seen::Other(id, Event::End { request_id, app_status, protocol_status })
        }
        Event::Values(values) => {
            assert!(values.len() <= MAX_CONTENT);
            Seen::Other(id, Event::Values(values))
        }
        Event::UnknownType(number) => Seen::Other(id, Event::UnknownType(number)),
    });
}
