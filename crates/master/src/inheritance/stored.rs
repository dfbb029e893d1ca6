//! Sockets of our own that systemd keeps for us (its file descriptor store): given to it under a name that tells the
//! address, handed back at the next start, taken from it when no pool has the address any more. They go on when this
//! process ends, with whoever waits in their queues; so does the file of a unix socket.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;

use config::Level;
use sys::listener::Bound;

use super::handed::{Taken, shown_key};
use super::{Listener, Sockets, key_of};
use crate::log::Log;

/// Begins the names, so that they are told from those of socket units.
const PREFIX: &str = "cornac-";
/// Longest name that systemd takes.
const LONGEST_NAME: usize = 255;

/// What systemd calls the socket: its address, with `%XX` for what a name may not contain.
pub(super) fn store_name(bound: &Bound) -> Option<String> {
    let key = key_of(bound);
    let mut name = PREFIX.to_owned();
    for byte in &key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'@' => {
                name.push(char::from(*byte));
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    (!key.is_empty() && name.len() <= LONGEST_NAME).then_some(name)
}

impl Taken {
    /// It is one that our predecessor left with systemd.
    pub(super) fn is_stored(&self) -> bool {
        store_name(&self.bound).is_some_and(|name| name.as_bytes() == self.name)
    }
}

impl Sockets {
    /// Takes back what our predecessor left with systemd.
    pub(super) fn take_back(&mut self, taken: Taken, log: &mut Log) {
        let key = key_of(&taken.bound);
        let (number, shown) = (taken.number, shown_key(&key));
        if has_lost_its_file(&taken.bound) {
            let text = format!("the file of the socket that systemd kept, fd={number}, \"{shown}\", is gone");
            log.write(Level::Warning, format!("{text}; who waits there cannot be served"));
            self.gone.extend(store_name(&taken.bound));
            return;
        }
        log.write(Level::Notice, format!("using inherited socket fd={number}, \"{shown}\""));
        let stored = Listener { stored: true, ..Listener::new(key, taken.bound, taken.fd, true) };
        self.list.push(stored);
    }

    /// The sockets that systemd should keep and does not yet, with the names they get.
    pub(crate) fn to_store(&self) -> Vec<(usize, String, BorrowedFd<'_>)> {
        let wanted = |listener: &Listener| listener.ours && listener.used && !listener.stored;
        let places = self.list.iter().enumerate().filter(|(_, listener)| wanted(listener));
        places
            .filter_map(|(place, listener)| Some((place, store_name(&listener.bound)?, listener.fd.as_fd())))
            .collect()
    }

    /// Systemd has it now.
    pub(crate) fn note_stored(&mut self, place: usize) {
        self.list[place].stored = true;
    }

    /// How many systemd keeps for us.
    pub(crate) fn stored(&self) -> usize {
        self.list.iter().filter(|listener| listener.stored).count()
    }

    /// The name of one that systemd need not keep any more.
    pub(crate) fn first_gone(&self) -> Option<&str> {
        self.gone.first().map(String::as_str)
    }

    /// It has been told.
    pub(crate) fn forget_gone(&mut self) {
        self.gone.remove(0);
    }
}

/// Without its file nobody can connect to a unix socket.
fn has_lost_its_file(bound: &Bound) -> bool {
    match bound {
        Bound::Unix(path) => !fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket()),
        Bound::Tcp(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_address() {
        let unix = |path: &str| store_name(&Bound::Unix(path.into()));
        assert_eq!(unix("/run/php/www.sock").as_deref(), Some("cornac-/run/php/www.sock"));
        assert_eq!(unix("/run/a b:c%d\n").as_deref(), Some("cornac-/run/a%20b%3Ac%25d%0A"));
        assert_eq!(unix("").as_deref(), None);
        assert_eq!(unix(&format!("/{}", "é".repeat(60))), None);
        let tcp = |address: &str| store_name(&Bound::Tcp(address.parse().unwrap()));
        assert_eq!(tcp("127.0.0.1:9000").as_deref(), Some("cornac-127.0.0.1%3A9000"));
        assert_eq!(tcp("[::1]:9000").as_deref(), Some("cornac-%3A%3A1%3A9000"));
    }
}
