//! A worker's side of the pool's mailbox (`board::mailbox`): where it leaves a kept connection when it is wanted
//! elsewhere, and finds those on which a request has come. Whether there is something is known from the scoreboard:
//! a worker that is not wanted elsewhere makes no system call for it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use board::mailbox::{LONGEST, Mail, Traits};
use board::scoreboard::Calls;
use nix::poll::{PollFlags, PollTimeout};
use sys::mail;

use super::connection::poll_raw;
use super::{Place, clock};

/// A fork server that has not looked into the mailbox for so long hangs, or is full: what goes in would wait for it.
const SLOW_US: u64 = 100_000;

/// The workers' end.
#[derive(Clone, Copy)]
pub(crate) struct Mailbox(pub(crate) RawFd);

impl Mailbox {
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the fork server left the descriptor open under this number for its workers, which never close it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Place {
    pub(super) fn calls(self) -> &'static Calls {
        &self.board.header().calls
    }

    /// Leaves a connection to the fork server. Never waits; false if the connection has to stay.
    pub(super) fn park(self, socket: &OwnedFd, traits: Traits) -> bool {
        let now = clock::monotonic_us();
        if self.calls().is_overdue(now, SLOW_US) {
            if mail::is_unread(self.mailbox.fd()) {
                return false;
            }
            self.calls().mail_taken();
        }
        let sent = mail::send(self.mailbox.fd(), &Mail::Parked(vec![traits]).encode(), &[socket.as_raw_fd()]);
        if sent.is_ok() {
            self.calls().mail_sent(now);
        }
        sent.is_ok()
    }

    /// A connection that somebody parked and on which a request has come, if nobody was faster.
    pub(super) fn take_parked(self) -> Option<(OwnedFd, Traits)> {
        let mut buffer = [0; LONGEST];
        let (length, fds) = mail::receive(self.mailbox.fd(), &mut buffer).ok()?;
        self.calls().took_ready();
        match Mail::decode(&buffer[..length]) {
            Some(Mail::Parked(traits)) => fds.into_iter().zip(traits).next(),
            _ => None,
        }
    }

    /// Waits for something in the mailbox, not for long.
    pub(super) fn await_mail(self, milliseconds: u8) {
        let _ = poll_raw([self.mailbox.0], PollFlags::POLLIN, PollTimeout::from(milliseconds));
    }

    /// Nobody is left in `accept`: from now on the fork server looks whether somebody comes, and calls a worker that
    /// waits on a kept connection, if there is one.
    pub(super) fn leave_watch_to_fork_server(self) {
        if self.calls().begin_watch() && mail::send(self.mailbox.fd(), &Mail::Watch.encode(), &[]).is_err() {
            self.calls().end_watch();
        }
    }
}
