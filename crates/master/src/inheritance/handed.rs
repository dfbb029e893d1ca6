//! Sockets that systemd hands in: taken as soon as this process runs, then found by what they are bound to, or else by
//! a name that is a pool's. They stay systemd's: nothing here connects to one, shuts one down or removes its file.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use config::{Diagnostic, Global, Level, Listen};
use sys::listener::{self, Bound};

use super::{Listener, Sockets, key_of};
use crate::activation::{self, Passed};
use crate::load::error;
use crate::log::{Log, errno_text, printable};

/// What this process was started with, by LISTEN_FDS.
#[derive(Debug, Default)]
pub(crate) struct HandedIn {
    sockets: Vec<Taken>,
    complaints: Vec<String>,
}

/// A listening socket of somebody else.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) number: RawFd,
    pub(super) name: Vec<u8>,
    pub(super) fd: OwnedFd,
    pub(super) bound: Bound,
}

impl HandedIn {
    /// Takes what was announced to this process, and closes what is of no use. To be called before anything is opened:
    /// a number that was announced and is not open could soon mean something of ours.
    pub(crate) fn claim() -> HandedIn {
        let env = |name: &[u8]| config::Host::env(&config::System, name);
        let own_id = &sys::process::own_pidfd_id;
        let announced = activation::read(&env, std::process::id(), own_id);
        let mut handed = HandedIn { sockets: Vec::new(), complaints: announced.complaints };
        announced.passed.into_iter().for_each(|passed| handed.take(passed));
        handed
    }

    fn take(&mut self, Passed { number, name }: Passed) {
        let name = name.unwrap_or_default();
        match listener::inherit(number) {
            Ok((fd, bound)) => self.sockets.push(Taken { number, name, fd, bound }),
            Err(error) => {
                let cause = error.raw_os_error().map_or_else(|| error.to_string(), |_| errno_text(&error));
                let called = called(&name);
                self.complaints.push(format!(
                    "LISTEN_FDS: fd={number}{called} is no listening socket, ignored: {cause}"
                ));
                listener::discard(number);
            }
        }
    }

    /// The one with this number, which FPM_SOCKETS names too.
    pub(super) fn withdraw(&mut self, number: RawFd) -> Option<Taken> {
        let place = self.sockets.iter().position(|taken| taken.number == number)?;
        Some(self.sockets.remove(place))
    }

    pub(super) fn complain(&mut self, log: &mut Log) {
        self.complaints.drain(..).for_each(|text| log.write(Level::Warning, text));
    }

    pub(super) fn into_sockets(self) -> Vec<Taken> {
        self.sockets
    }
}

/// A socket systemd handed in for a pool.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) fd: Rc<OwnedFd>,
    pub(crate) tcp: bool,
    /// What it is bound to, where only its name is the pool's.
    pub(crate) elsewhere: Option<String>,
}

impl Sockets {
    /// The socket that systemd hands in for a pool: bound to one of these addresses, or else called as the pool is and
    /// bound to no other pool's address.
    pub(crate) fn match_handed_in(&mut self, keys: &[Vec<u8>], pool: &[u8]) -> Option<Match> {
        let by_address = |listener: &Listener| {
            listener.handed.is_some() && keys.iter().any(|key| same_address(&key_of(&listener.bound), key))
        };
        let by_name = |listener: &Listener| {
            listener.handed.as_ref().is_some_and(|name| name == pool) && !listener.wanted && !listener.used
        };
        let found = self.list.iter().position(by_address);
        let place = found.or_else(|| self.list.iter().position(by_name))?;
        let (fd, tcp) = self.hand_out(place)?;
        let listener = &mut self.list[place];
        let mut elsewhere = None;
        if found.is_none() {
            elsewhere = Some(shown_key(&key_of(&listener.bound)));
            // Handed on under the pool's address, it is found by whoever takes over.
            listener.key = keys.first().cloned().unwrap_or_default();
        }
        Some(Match { fd, tcp, elsewhere })
    }

    pub(crate) fn has_handed_in(&self) -> bool {
        self.list.iter().any(|listener| listener.handed.is_some())
    }

    /// Notes which of them are bound to a pool's address.
    pub(crate) fn note_addresses(&mut self, pools: &[config::Pool]) {
        let addresses: Vec<Vec<u8>> = pools.iter().flat_map(|pool| plain_keys(&pool.listen)).collect();
        for listener in &mut self.list {
            let own = key_of(&listener.bound);
            listener.wanted = addresses.iter().any(|key| same_address(&own, key));
        }
    }

    /// Says which of them no pool has, and closes our copies.
    pub(crate) fn close_unmatched(&mut self, log: &mut Log) {
        let unmatched = |listener: &Listener| listener.handed.is_some() && !listener.used;
        for (index, listener) in self.list.iter().enumerate().filter(|(_, listener)| unmatched(listener)) {
            let own = key_of(&listener.bound);
            let same = |other: &Listener| other.used && key_of(&other.bound) == own;
            let why = match self.list.iter().enumerate().any(|(other, one)| other != index && same(one)) {
                true => "is bound to the address of one that is used already",
                false => "is bound to no pool's address, and its name is no pool's",
            };
            let called = called(listener.handed.as_deref().unwrap_or_default());
            let (number, own) = (listener.fd.as_raw_fd(), shown_key(&own));
            let text = format!("LISTEN_FDS: fd={number}{called}, \"{own}\" {why}");
            log.write(Level::Warning, format!("{text}; it is closed here, its owner keeps it"));
        }
        self.list.retain(|listener| !unmatched(listener));
    }

    /// With `idle_exit` every pool's socket has to be handed in by somebody, who has it when we are gone.
    pub(crate) fn check_idle_exit(&self, global: &Global) -> Result<(), Diagnostic> {
        let ours = self.list.iter().find(|listener| listener.used && listener.ours);
        let (Some(ours), Some(_)) = (ours, global.idle_exit.duration()) else { return Ok(()) };
        let key = shown_key(&ours.key);
        let text =
            format!("idle_exit: the socket \"{key}\" is not handed in; nobody would start the service again");
        let advice = "have a socket unit listen there (ListenStream=), or take the line out";
        Err(error(text).at(global.places.get("idle_exit").cloned()).hint(advice))
    }
}

fn called(name: &[u8]) -> String {
    if name.is_empty() { String::new() } else { format!(" ({})", shown_key(name)) }
}

pub(super) fn shown_key(key: &[u8]) -> String {
    printable(&String::from_utf8_lossy(key))
}

/// Addresses that can be told from the text alone.
fn plain_keys(listen: &[u8]) -> Vec<Vec<u8>> {
    match Listen::parse(listen) {
        Ok(Listen::Unix(path)) => vec![path.as_os_str().as_bytes().to_vec()],
        Ok(Listen::Tcp { host, port }) => {
            let host = String::from_utf8_lossy(&host).into_owned();
            host.parse::<IpAddr>().map(|ip| super::tcp_key((ip, port).into())).into_iter().collect()
        }
        Ok(Listen::Port(port)) => super::any_keys(port).to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Whether two addresses are the same one, spelled differently at most: `//` is `/`, and `/var/run` is `/run`.
pub(super) fn same_address(one: &[u8], other: &[u8]) -> bool {
    one == other || (one.starts_with(b"/") && other.starts_with(b"/") && parts(one).eq(parts(other)))
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let normal: Vec<&[u8]> = path.components().skip(1).map(|part| part.as_os_str().as_bytes()).collect();
    let skipped = usize::from(normal.starts_with(&[b"var", b"run"]));
    normal.into_iter().skip(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_an_address() {
        let same = |one: &str, other: &str| same_address(one.as_bytes(), other.as_bytes());
        for (one, other) in [
            ("/run/php/www.sock", "/run//php/www.sock"),
            ("/run/php/www.sock", "/var/run/php/www.sock"),
            ("/run/php/www.sock", "//var/./run///php/./www.sock"),
            ("127.0.0.1:9000", "127.0.0.1:9000"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("/run/php/www.sock", "/run/php/api.sock"),
            ("/run/php", "/run/php/www.sock"),
            ("/var/runner/x", "/runner/x"),
            ("/run/a/../b", "/run/b"),
            ("127.0.0.1:9000", "127.0.0.1:9001"),
            ("", "/run/x"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn addresses_of_a_configuration() {
        let keys = |listen: &str| {
            let keys = plain_keys(listen.as_bytes()).into_iter();
            keys.map(|key| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(keys("/run/x.sock"), ["/run/x.sock"]);
        assert_eq!(keys("127.0.0.1:9000"), ["127.0.0.1:9000"]);
        assert_eq!(keys("[::1]:9000"), ["::1:9000"]);
        assert_eq!(keys("9000"), [":::9000", "0.0.0.0:9000"]);
        assert!(keys("localhost:9000").is_empty() && keys("127.0.0.1:99999").is_empty());
    }
}
