//! The request as it comes in: records from the connection become parameters, then body bytes when PHP
//! asks for them.

use std::io::IoSlice;

use fastcgi::params::Pairs;
use fastcgi::record::ProtocolStatus;
use fastcgi::response::end_request;
use fastcgi::server::{Answer, Begin, Event, Limits, Server};

use super::connection::{Connection, Gone, Wait};
use super::params::Params;

/// Beyond this, memory of an unusually large request is given back after it.
const KEPT_ROOM: usize = 64 * 1024;

pub(super) struct Incoming {
    server: Server,
    /// Content of the PARAMS records so far.
    stream: Vec<u8>,
    pub(super) params: Params,
    /// The peer is gone, stalls, or has aborted the request: the body ends here.
    broken: bool,
}

impl Default for Incoming {
    fn default() -> Incoming {
        Incoming {
            server: Server::new(Limits::default()),
            stream: Vec::new(),
            params: Params::default(),
            broken: false,
        }
    }
}

impl Incoming {
    /// For the next request on the same connection.
    pub(super) fn reset(&mut self) {
        self.stream.clear();
        self.stream.shrink_to(KEPT_ROOM);
        self.params.reset();
    }

    /// For the first request on a new connection.
    pub(super) fn new_connection(&mut self) {
        self.server = Server::new(Limits::default());
        self.broken = false;
    }

    /// The application is through with the request.
    pub(super) fn end(&mut self) {
        self.server.end_request();
    }

    /// Nothing of a next request has been read.
    pub(super) fn is_idle(&self) -> bool {
        self.server.between_records()
    }

    /// Looks for the next BEGIN_REQUEST in what has been read. What is left of the last request is skipped.
    pub(super) fn take_begin(&mut self, connection: &mut Connection) -> Result<Option<Begin>, Gone> {
        while connection.has_input() {
            let (used, event) = self.server.next(connection.input()).map_err(|_| Gone)?;
            let mut answer = None;
            let mut found = None;
            match event {
                Some(Event::Begin(begin)) => found = Some(begin),
                Some(Event::Answer(reply)) => answer = Some(reply),
                _ => {}
            }
            connection.consume(used);
            send_answer(connection, answer)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Reads until the parameters are complete. An error means that the connection is of no use any more.
    pub(super) fn read_params(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        loop {
            connection.fill(Wait::Params)?;
            let (used, event) = self.server.next(connection.input()).map_err(|_| Gone)?;
            let mut answer = None;
            let mut complete = false;
            match event {
                Some(Event::Params(piece)) => self.stream.extend_from_slice(piece),
                Some(Event::ParamsEnd) => complete = true,
                Some(Event::Abort { request_id }) => return give_up(connection, request_id),
                Some(Event::Answer(reply)) => answer = Some(reply),
                Some(Event::Begin(_) | Event::Stdin(_) | Event::StdinEnd) | None => {}
            }
            connection.consume(used);
            send_answer(connection, answer)?;
            if complete {
                return self.take_params();
            }
        }
    }

    fn take_params(&mut self) -> Result<(), Gone> {
        // The codec refuses other roles.
        self.params.set(b"FCGI_ROLE", b"RESPONDER");
        for pair in Pairs::new(&self.stream) {
            let (name, value) = pair.map_err(|_| Gone)?;
            self.params.set(name, value);
        }
        Ok(())
    }

    /// Reads body bytes into `buffer` until it is full, the body ends, or the peer is gone.
    pub(super) fn read_body(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() && !self.broken && !self.server.stdin_ended() {
            match self.read_piece(connection, &mut buffer[done..]) {
                Ok(count) => done += count,
                Err(Gone) => {
                    self.broken = true;
                    connection.abandon();
                }
            }
        }
        done
    }

    /// One event's worth of body. The codec gets no more input than fits, so that a piece always does.
    fn read_piece(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Gone> {
        connection.fill(Wait::Body)?;
        let input = connection.input();
        let input = &input[..input.len().min(buffer.len())];
        let (used, event) = self.server.next(input).map_err(|_| Gone)?;
        let mut count = 0;
        let mut answer = None;
        match event {
            Some(Event::Stdin(piece)) => {
                buffer[..piece.len()].copy_from_slice(piece);
                count = piece.len();
            }
            // The script gets what there is, and the web server its END_REQUEST.
            Some(Event::Abort { .. }) => self.broken = true,
            Some(Event::Answer(reply)) => answer = Some(reply),
            _ => {}
        }
        connection.consume(used);
        send_answer(connection, answer)?;
        Ok(count)
    }

    /// Takes the end of the request's body if that is all that is left of it.
    pub(super) fn take_end(&mut self, connection: &mut Connection) {
        let mut ahead = self.server.clone();
        if let Ok((used, Some(Event::StdinEnd))) = ahead.next(connection.input()) {
            self.server = ahead;
            connection.consume(used);
        }
    }

    /// Takes what is left of the request out of the input, without waiting for more.
    pub(super) fn skip_rest(&mut self, connection: &mut Connection) {
        while connection.has_input() && !self.server.stdin_ended() {
            let Ok((used, _)) = self.server.next(connection.input()) else { return };
            if used == 0 {
                return;
            }
            connection.consume(used);
        }
    }

    /// Everything of the request has been read, so that the connection can be closed without being reset.
    pub(super) fn is_complete(&self) -> bool {
        self.server.stdin_ended()
    }
}

/// Answers an abort of a request that PHP has not seen yet (FastCGI 1.0 §5.4).
fn give_up(connection: &mut Connection, request_id: u16) -> Result<(), Gone> {
    let end = end_request(request_id, 0, ProtocolStatus::RequestComplete);
    connection.send(&mut [IoSlice::new(&end)])?;
    connection.close(false);
    Err(Gone)
}

/// Sends what the protocol itself answers; after a refusal that ends the connection there is nothing to read.
fn send_answer(connection: &mut Connection, answer: Option<Answer>) -> Result<(), Gone> {
    let Some(answer) = answer else { return Ok(()) };
    connection.send(&mut [IoSlice::new(answer.bytes())])?;
    if answer.close() {
        connection.close(false);
        return Err(Gone);
    }
    Ok(())
}
