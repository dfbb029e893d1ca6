//! The reply on its way out: STDOUT and STDERR records are put together in one buffer, so that head, body
//! and END_REQUEST of a short response leave in one write. Long output is sent from where PHP has it.

use std::io::IoSlice;

use fastcgi::record::{HEADER_LEN, ProtocolStatus};
use fastcgi::response::{MAX_CONTENT, Stream, end_request, padding, stream_header};

use super::connection::{Connection, Gone};
use crate::php::{ABORTED, ALREADY, DONE};

/// Output is held back until there is so much of it, the script flushes, or the request ends.
const ROOM: usize = 32 * 1024;

#[derive(Default)]
pub(super) struct Output {
    request_id: u16,
    /// Complete records, then perhaps one that is still growing.
    buffer: Vec<u8>,
    /// The growing record: its stream, and where its header lies.
    growing: Option<(Stream, usize)>,
    /// A request is being answered and END_REQUEST has not been sent.
    open: bool,
    /// The peer is gone: nothing can be sent any more.
    broken: bool,
    /// A message has been sent to STDERR in this request.
    has_messages: bool,
}

impl Output {
    /// No request.
    pub(super) fn reset(&mut self) {
        self.buffer.clear();
        self.growing = None;
        self.open = false;
        self.broken = false;
        self.has_messages = false;
    }

    /// A request is going to be answered.
    pub(super) fn begin(&mut self, request_id: u16) {
        self.reset();
        self.request_id = request_id;
        self.open = true;
    }

    /// END_REQUEST has been sent, or cannot be sent any more.
    pub(super) fn is_over(&self) -> bool {
        !self.open
    }

    /// Adds to a stream of the reply.
    pub(super) fn write(
        &mut self,
        connection: &mut Connection,
        stream: Stream,
        content: &[u8],
    ) -> Result<(), Gone> {
        if !self.open {
            return Ok(()); // what a script prints after fastcgi_finish_request() goes nowhere
        }
        if self.broken || !connection.is_open() {
            return Err(Gone);
        }
        if content.len() >= ROOM {
            return self.send_long(connection, stream, content);
        }
        if self.buffer.len() + content.len() + 2 * HEADER_LEN > ROOM {
            self.flush(connection)?;
        }
        self.grow(stream);
        self.buffer.extend_from_slice(content);
        Ok(())
    }

    /// Appends to the growing STDOUT record what `encode` appends to the buffer.
    pub(super) fn write_head(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.open {
            return;
        }
        self.grow(Stream::Stdout);
        let start = self.buffer.len();
        encode(&mut self.buffer);
        let length = self.buffer.len() - start;
        if length + ROOM > MAX_CONTENT {
            // A head that does not fit into one record beside what is there: put it into records of its own.
            let head = self.buffer.split_off(start);
            self.close_record();
            fastcgi::response::append_stream(&mut self.buffer, Stream::Stdout, self.request_id, &head);
        }
    }

    /// Adds one message to STDERR; those of one request are separated as php-fpm does.
    pub(super) fn message(&mut self, connection: &mut Connection, text: &[u8]) -> Result<(), Gone> {
        if std::mem::replace(&mut self.has_messages, true) {
            self.write(connection, Stream::Stderr, b"; ")?;
        }
        self.write(connection, Stream::Stderr, text)
    }

    /// Sends what is there.
    pub(super) fn flush(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        self.close_record();
        if self.broken || !self.open || !connection.is_open() {
            return Err(Gone); // after fastcgi_finish_request() too, as with php-fpm
        }
        let sent = connection.send(&mut [IoSlice::new(&self.buffer)]);
        self.forget_sent();
        self.broken = sent.is_err();
        sent
    }

    /// Ends the reply: `DONE`, `ALREADY` if that has been done, or `ABORTED`.
    pub(super) fn finish(&mut self, connection: &mut Connection) -> i32 {
        if !self.open {
            return ALREADY;
        }
        self.close_record();
        self.buffer.extend_from_slice(&end_request(self.request_id, 0, ProtocolStatus::RequestComplete));
        let sent = self.flush(connection);
        self.open = false;
        if sent.is_ok() { DONE } else { ABORTED }
    }

    /// Makes the growing record one of this stream.
    fn grow(&mut self, stream: Stream) {
        if self.growing.is_some_and(|(growing, _)| growing == stream) {
            return;
        }
        self.close_record();
        self.growing = Some((stream, self.buffer.len()));
        self.buffer.extend_from_slice(&[0; HEADER_LEN]);
    }

    /// Gives the growing record its header and padding.
    fn close_record(&mut self) {
        let Some((stream, start)) = self.growing.take() else { return };
        let length = self.buffer.len() - start - HEADER_LEN;
        if length == 0 {
            self.buffer.truncate(start);
            return;
        }
        let length = length as u16;
        self.buffer[start..start + HEADER_LEN].copy_from_slice(&stream_header(
            stream,
            self.request_id,
            length,
        ));
        self.buffer.extend_from_slice(padding(length));
    }

    /// What is in the buffer and then the content, from where it lies, in records as large as they may be.
    fn send_long(&mut self, connection: &mut Connection, stream: Stream, content: &[u8]) -> Result<(), Gone> {
        self.close_record();
        for piece in content.chunks(MAX_CONTENT) {
            let length = piece.len() as u16;
            let header = stream_header(stream, self.request_id, length);
            let mut parts = [
                IoSlice::new(&self.buffer),
                IoSlice::new(&header),
                IoSlice::new(piece),
                IoSlice::new(padding(length)),
            ];
            let sent = connection.send(&mut parts);
            self.forget_sent();
            if sent.is_err() {
                self.broken = true;
                return Err(Gone);
            }
        }
        Ok(())
    }

    fn forget_sent(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(2 * ROOM);
    }
}
