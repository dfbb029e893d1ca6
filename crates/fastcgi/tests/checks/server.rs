//! The rules for the application's side.
//!
//! The first three bytes of an input choose limits and roles, when requests are ended, and the split;
//! the rest is what the web server sends.

use super::{Cut, assert_inside};
use fastcgi::server::{Begin, Event, Limits, Roles, Server, Values, Violation};

const SMALL: Limits = Limits {
    params: 64,
    idle_records: 4,
    ignored: 64,
    get_values: 32,
    roles: Roles::Standard,
    values: Values { max_conns: Some(u32::MAX), max_reqs: Some(u32::MAX) },
};

/// An event, streams put together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Begin(Begin),
    Params(Vec<u8>),
    ParamsEnd,
    Stdin(Vec<u8>),
    StdinEnd,
    Abort(u16),
    Answer(Vec<u8>, bool),
    Violation(Violation),
}

/// When the application ends its requests.
#[derive(Debug, Clone, Copy)]
struct Ending {
    on_begin: bool,
    on_params_end: bool,
    on_stdin_end: bool,
    on_abort: bool,
    at_byte: Option<usize>,
}

impl Ending {
    fn new(byte: u8) -> Self {
        Self {
            on_begin: byte & 1 != 0,
            on_params_end: byte & 2 != 0,
            on_stdin_end: byte & 4 == 0,
            on_abort: byte & 8 == 0,
            at_byte: (byte & 16 != 0).then_some(usize::from(byte)),
        }
    }

    fn after(self, event: &Event<'_>) -> bool {
        match event {
            Event::Begin(_) => self.on_begin,
            Event::ParamsEnd => self.on_params_end,
            Event::StdinEnd => self.on_stdin_end,
            Event::Abort { .. } => self.on_abort,
            _ => false,
        }
    }
}

/// A request is active, its parameters are complete, its body is complete.
type State = (bool, bool, bool);

fn state(server: &Server) -> State {
    (server.request().is_some(), server.params_ended(), server.stdin_ended())
}

/// Any bytes after three that choose.
pub(crate) fn check(data: &[u8]) {
    let Some((&[limits, ending, seed], bytes)) = data.split_first_chunk::<3>() else { return };
    let limits = if limits & 1 == 0 { Limits::default() } else { SMALL };
    let ending = Ending::new(ending);
    let [whole, pieces] = Cut::two(seed).map(|cut| Run::new(limits, ending).run(bytes, cut));
    assert_eq!(whole, pieces, "the events depend on the split");
}

struct Run {
    server: Server,
    limits: Limits,
    ending: Ending,
    seen: Vec<Seen>,
    params_len: usize,
    answers: u32,
}

impl Run {
    fn new(limits: Limits, ending: Ending) -> Self {
        Self { server: Server::new(limits), limits, ending, seen: Vec::new(), params_len: 0, answers: 0 }
    }

    fn run(mut self, bytes: &[u8], mut cut: Cut) -> Vec<Seen> {
        let at = self.ending.at_byte.unwrap_or(bytes.len()).min(bytes.len());
        let (front, back) = bytes.split_at(at);
        for mut part in [front, back] {
            while !part.is_empty() {
                let (piece, behind) = cut.split(part);
                if let Err(violation) = self.feed(piece) {
                    assert_eq!(self.server.next(behind), Err(violation), "an error is final");
                    self.seen.push(Seen::Violation(violation));
                    return self.seen;
                }
                part = behind;
            }
            if self.ending.at_byte.is_some() {
                self.server.end_request();
            }
        }
        self.seen
    }

    fn feed(&mut self, mut piece: &[u8]) -> Result<(), Violation> {
        let mut stood = false;
        loop {
            let was = state(&self.server);
            let (used, event) = self.server.next(piece)?;
            assert!(self.server.kept() < usize::from(self.limits.get_values).max(8), "too much kept");
            let Some(event) = event else {
                assert_eq!(used, piece.len(), "asks for more, but has not used all");
                return Ok(());
            };
            if used == 0 {
                assert!(!stood && event == Event::ParamsEnd && !piece.is_empty(), "no progress");
            }
            stood = used == 0;
            self.on_event(was, &event, piece);
            if self.ending.after(&event) {
                self.server.end_request();
                assert_eq!(self.server.request(), None);
            }
            piece = &piece[used..];
        }
    }

    /// The event fits the state before it, leads to the state after it, and is within the limits.
    fn on_event(&mut self, was: State, event: &Event<'_>, input: &[u8]) {
        let (none, params, body, complete) =
            ((false, false, false), (true, false, false), (true, true, false), (true, true, true));
        let is = state(&self.server);
        let fits = match event {
            Event::Begin(begin) => {
                self.params_len = 0;
                was == none && is == params && self.server.request() == Some(*begin)
            }
            Event::Params(piece) => {
                assert_inside(piece, input);
                self.params_len += piece.len();
                was == params && is == params && self.params_len <= self.limits.params
            }
            Event::ParamsEnd => was == params && is == body,
            Event::Stdin(piece) => {
                assert_inside(piece, input);
                was == body && is == body
            }
            Event::StdinEnd => was == body && is == complete,
            Event::Abort { request_id } => {
                was == is && self.server.request().map(|begin| begin.request_id) == Some(*request_id)
            }
            Event::Answer(answer) => {
                was == is && matches!(answer.bytes().len(), 8..=80) && answer.bytes().len() % 8 == 0
            }
        };
        assert!(fits, "{event:?} between {was:?} and {is:?}");
        let idle = matches!(event, Event::Answer(_) | Event::Abort { .. });
        self.answers = if idle { self.answers + 1 } else { 0 };
        assert!(self.answers <= self.limits.idle_records, "answers without end");
        self.note(event);
    }

    fn note(&mut self, event: &Event<'_>) {
        match (event, self.seen.last_mut()) {
            (Event::Params(piece), Some(Seen::Params(all)))
            | (Event::Stdin(piece), Some(Seen::Stdin(all))) => {
                all.extend_from_slice(piece);
                return;
            }
            _ => {}
        }
        self.seen.push(match event {
            Event::Begin(begin) => Seen::Begin(*begin),
            Event::Params(piece) => Seen::Params(piece.to_vec()),
            Event::ParamsEnd => Seen::ParamsEnd,
            Event::Stdin(piece) => Seen::Stdin(piece.to_vec()),
            Event::StdinEnd => Seen::StdinEnd,
            Event::Abort { request_id } => Seen::Abort(*request_id),
            Event::Answer(answer) => Seen::Answer(answer.bytes().to_vec(), answer.close()),
        });
    }
}
