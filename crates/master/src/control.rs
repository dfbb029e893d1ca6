//! The control socket: commands connect to it, say in one line what they want (`protocol`), and may wait for the outcome.
//! Whoever connects is looked at first, and none of them can hold the master up: nothing is waited for, a request has a
//! deadline and a length, and only so many peers are served at once.

mod complaints;
mod endpoint;
pub mod protocol;
mod settling;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use config::Level;
use sys::{inherited, peer, users};

use crate::log::{errno_text, printable};
use crate::poller::Source;
use crate::reload::{Ask, Outcome};
use crate::supervisor::Supervisor;
use complaints::Complaints;
use endpoint::Endpoint;
use protocol::{Answer, LONGEST_REQUEST, MOST_LINES, Request};
use settling::Settling;

/// Peers at once.
const MOST_PEERS: usize = 32;
/// Peers taken in before others get their turn.
const MOST_AT_ONCE: usize = 8;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nobody is taken in when there is no descriptor for him.
const PAUSE: Duration = Duration::from_secs(1);

/// Who waits for an outcome.
pub(crate) type Ticket = u32;

/// The socket and who has connected.
#[derive(Debug, Default)]
pub(crate) struct Control {
    endpoint: Option<Endpoint>,
    peers: BTreeMap<Ticket, Peer>,
    next: Ticket,
    /// Nobody is taken in before.
    paused_until: Option<Instant>,
    complaints: Complaints,
    settling: Vec<Settling>,
}

#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    /// As log lines name it.
    name: String,
    request: Vec<u8>,
    /// For its request; none once it waits for an outcome.
    deadline: Option<Instant>,
}

impl Peer {
    /// Says so if there is room for it at once: an answer that is not read is lost.
    fn tell(&mut self, answers: &[Answer]) {
        let text: Vec<u8> = answers.iter().flat_map(Answer::encode).collect();
        let _ = self.stream.write_all(&text);
    }
}

/// What became of an attempt to read a request.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// There is more to come.
    Part,
    Request(Request),
    /// It was going to wait, or has said nothing, and is gone.
    Gone,
    Wrong(String),
}

impl Peer {
    fn hear(&mut self) -> Heard {
        let mut buffer = [0; 4096];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) if self.request.is_empty() || self.deadline.is_none() => return Heard::Gone,
                Ok(0) => return Heard::Wrong("it went away in the middle of its request".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.deadline.is_some() => return Heard::Wrong(errno_text(&error)),
                Err(_) => return Heard::Gone,
            };
            if self.deadline.is_none() {
                return Heard::Wrong("it says more than one request".to_owned());
            }
            self.request.extend(&buffer[..read]);
            let end = self.request.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) if end + 1 < self.request.len() => {
                    return Heard::Wrong("it says more than one request".to_owned());
                }
                Some(end) => {
                    return Request::parse(&self.request[..end]).map_or_else(Heard::Wrong, Heard::Request);
                }
                None if self.request.len() >= LONGEST_REQUEST => {
                    return Heard::Wrong(format!("its request is longer than {LONGEST_REQUEST} bytes"));
                }
                None => {}
            }
        }
    }
}

impl Control {
    /// Where commands connect to.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Who waits with this ticket.
    pub(crate) fn stream(&self, ticket: Ticket) -> Option<&UnixStream> {
        self.peers.get(&ticket).map(|peer| &peer.stream)
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let settling = settling::deadline(&self.settling, Instant::now());
        self.peers.values().filter_map(|peer| peer.deadline).chain(self.paused_until).chain(settling).min()
    }
}

impl Supervisor {
    /// Listens where the configuration says; what is there already and right stays as it is.
    pub(crate) fn open_control(&mut self) {
        let wanted = self.global.control_path().map(std::path::Path::to_path_buf);
        if let (Some(endpoint), Some(path)) = (&self.control.endpoint, &wanted)
            && endpoint.is_at(path)
        {
            return;
        }
        self.close_control();
        let Some(path) = wanted else { return };
        let opened = Endpoint::open(&path).and_then(|endpoint| {
            match self.poller.watch_once(&endpoint, Source::Control) {
                Ok(()) => Ok(endpoint),
                Err(error) => {
                    endpoint.remove();
                    Err(errno_text(&error))
                }
            }
        });
        match opened {
            Ok(endpoint) => self.control.endpoint = Some(endpoint),
            Err(reason) => {
                let shown = printable(&path.to_string_lossy());
                let place = self.global.places.get("control.socket");
                let at = place
                    .map_or(String::new(), |place| format!("[{}:{}] ", place.file.display(), place.line));
                let text = format!("{at}control.socket: cannot listen at '{shown}': {reason}");
                let advice = "commands such as 'cornac reload' cannot reach this master; name a path in a folder of its own";
                self.log.write(Level::Warning, format!("{text}; {advice}"));
            }
        }
    }

    /// Goes on with the socket of the image of this process before us.
    pub(crate) fn take_control(&mut self, left: Option<(Vec<u8>, RawFd)>) {
        let Some((path, number)) = left else { return };
        let Ok(fd) = inherited::take(number) else { return };
        let endpoint = Endpoint::adopt(OsString::from_vec(path).into(), fd);
        self.control.endpoint = Some(endpoint);
        self.watch_control();
    }

    /// A command that asked that image, and waits.
    pub(crate) fn take_waiting_peer(&mut self, fd: OwnedFd) -> Option<Ticket> {
        let stream = UnixStream::from(fd);
        let who = peer::credentials(&stream).ok()?;
        let ticket = self.control.next;
        self.control.next = ticket.wrapping_add(1);
        self.poller.watch(&stream, Source::Peer(ticket)).ok()?;
        let peer = Peer { stream, name: format!("process {}", who.pid), request: Vec::new(), deadline: None };
        self.control.peers.insert(ticket, peer);
        Some(ticket)
    }

    /// Nobody can connect any more; those who have, stay.
    pub(crate) fn close_control(&mut self) {
        if let Some(endpoint) = self.control.endpoint.take() {
            self.poller.forget(&endpoint);
            endpoint.remove();
        }
        self.control.paused_until = None;
    }

    /// Takes in who has connected.
    pub(crate) fn take_peers(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let Some(endpoint) = &self.control.endpoint else { return };
            match endpoint.accept() {
                Ok(stream) => self.take_peer(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.control.paused_until = Some(Instant::now() + PAUSE);
                    let text = format!("the control socket cannot take anybody in: {}", errno_text(&error));
                    return self.complain(&text);
                }
            }
        }
        self.watch_control();
    }

    fn watch_control(&mut self) {
        if let Some(endpoint) = &self.control.endpoint {
            let _ = self.poller.watch_once(endpoint, Source::Control);
        }
    }

    fn take_peer(&mut self, stream: UnixStream) {
        let name = match peer::credentials(&stream) {
            Ok(who) if who.uid == 0 || who.uid == users::own_id() => format!("process {}", who.pid),
            Ok(who) => {
                let text = format!("process {} of user {} may not use the control socket", who.pid, who.uid);
                return self.complain(&format!("{text}: only root and user {} may", users::own_id()));
            }
            Err(error) => {
                return self
                    .complain(&format!("who uses the control socket is unknown: {}", errno_text(&error)));
            }
        };
        let ticket = self.control.next;
        self.control.next = ticket.wrapping_add(1);
        let deadline = Some(Instant::now() + PATIENCE);
        let mut peer = Peer { stream, name, request: Vec::new(), deadline };
        let refused = if self.control.peers.len() >= MOST_PEERS {
            Some(format!("more than {MOST_PEERS} at once"))
        } else {
            self.poller.watch(&peer.stream, Source::Peer(ticket)).err().map(|error| errno_text(&error))
        };
        if let Some(reason) = refused {
            peer.tell(&[Answer::Error(format!("the master cannot hear you: {reason}")), Answer::Refused]);
            return self.complain(&format!("{} is not heard on the control socket: {reason}", peer.name));
        }
        self.control.peers.insert(ticket, peer);
    }

    /// A peer has said something, or is gone.
    pub(crate) fn hear_peer(&mut self, ticket: Ticket) {
        let Some(peer) = self.control.peers.get_mut(&ticket) else { return };
        match peer.hear() {
            Heard::Part => {}
            Heard::Gone => drop(self.dismiss(ticket)),
            Heard::Wrong(reason) => self.reject(ticket, &reason),
            Heard::Request(request) => self.take_request(ticket, request),
        }
    }

    fn reject(&mut self, ticket: Ticket, reason: &str) {
        let Some(mut peer) = self.dismiss(ticket) else { return };
        peer.tell(&[Answer::Error(reason.to_owned()), Answer::Refused]);
        self.complain(&format!("a request of {} on the control socket is refused: {reason}", peer.name));
    }

    fn dismiss(&mut self, ticket: Ticket) -> Option<Peer> {
        let peer = self.control.peers.remove(&ticket)?;
        self.poller.forget(&peer.stream);
        Some(peer)
    }

    fn take_request(&mut self, ticket: Ticket, request: Request) {
        if self.plan.is_stopping() {
            return self.reject(ticket, "the master is stopping");
        }
        let Some(peer) = self.control.peers.get_mut(&ticket) else { return };
        peer.deadline = None;
        peer.tell(&[Answer::Taken]);
        let name = peer.name.clone();
        let tickets = Vec::from_iter(request.waits().then_some(ticket));
        if tickets.is_empty() {
            self.dismiss(ticket);
        }
        match request {
            Request::Reload { pools, only_changed, .. } => {
                self.log.write(Level::Debug, format!("{name} asks for a reload"));
                self.ask_reload(Ask { pools, only_changed, tickets }, None);
            }
            Request::Upgrade { .. } => {
                self.log.write(Level::Debug, format!("{name} asks for an upgrade"));
                self.ask_upgrade(tickets);
            }
        }
    }

    /// Tells those who wait for it how it ended.
    pub(crate) fn answer(&mut self, tickets: &[Ticket], outcome: &Outcome) {
        let (lines, last): (Vec<Answer>, _) = match outcome {
            Outcome::Done(notes) => (notes.iter().cloned().map(Answer::Note).collect(), Answer::Done),
            Outcome::Refused(errors) => {
                (errors.iter().cloned().map(Answer::Error).collect(), Answer::Refused)
            }
        };
        let mut answers: Vec<Answer> = lines.into_iter().take(MOST_LINES).collect();
        answers.push(last);
        for ticket in tickets {
            if let Some(mut peer) = self.dismiss(*ticket) {
                peer.tell(&answers);
            }
        }
    }

    /// What is due.
    pub(crate) fn serve_control(&mut self, now: Instant) {
        self.tell_settled(now);
        let is_late = |peer: &Peer| peer.deadline.is_some_and(|deadline| now >= deadline);
        let late = self.control.peers.iter().filter(|(_, peer)| is_late(peer)).map(|(ticket, _)| *ticket);
        for ticket in late.collect::<Vec<_>>() {
            self.reject(ticket, &format!("it did not come within {} seconds", PATIENCE.as_secs()));
        }
        if self.control.paused_until.is_some_and(|until| now >= until) {
            self.control.paused_until = None;
            self.watch_control();
        }
    }

    fn complain(&mut self, text: &str) {
        if let Some(line) = self.control.complaints.line(text, Instant::now()) {
            self.log.write(Level::Warning, line);
        }
    }
}
