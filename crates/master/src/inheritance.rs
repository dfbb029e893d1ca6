//! The listening sockets of all pools, one list as php-fpm keeps it: handed in through FPM_SOCKETS or LISTEN_FDS
//! (`handed`), or made here; shared by pools that name the same address in two ways; handed on to the next image of this
//! process when it reloads, and over a restart if systemd keeps them (`stored`).
//!
//! Who handed a socket in owns it: such a one is never unlinked (php-fpm does, and socket activation works once). Those
//! that came from our own image before a reload are ours.

mod doors;
mod handed;
mod round;
mod stored;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use config::{Level, Listen};
use sys::closing;
use sys::listener::{self, Bound};

use crate::log::{Log, errno_text, printable};
pub(crate) use doors::is_same;
pub(crate) use handed::{HandedIn, Match};

/// The environment variable; those that follow have `_1`, `_2` … at their ends.
pub(crate) const VARIABLE: &str = "FPM_SOCKETS";
/// Sockets in one variable.
const PER_VARIABLE: usize = 128;
/// Variables that are read.
const MOST_VARIABLES: usize = 256;

/// One listening socket.
#[derive(Debug)]
struct Listener {
    /// What FPM_SOCKETS calls it: a path, or `address:port`.
    key: Vec<u8>,
    bound: Bound,
    fd: Rc<OwnedFd>,
    /// Its file goes away with it.
    ours: bool,
    /// A pool has it.
    used: bool,
    /// A pool had it before the reload that is under way.
    used_before: bool,
    /// Made in the reload that is under way.
    fresh: bool,
    /// The file that clients find it by, if it is ours.
    file: Option<round::FileId>,
    /// That file is not there any more: it is to be replaced.
    lost: bool,
    /// Handed in by LISTEN_FDS, under this name.
    handed: Option<Vec<u8>>,
    /// It is bound to a pool's address, so that its name counts for nothing.
    wanted: bool,
    /// systemd keeps it for our successor.
    stored: bool,
    /// That file was removed at the begin of a graceful end.
    retracted: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    list: Vec<Listener>,
    /// Names of those that systemd keeps and nobody needs any more.
    gone: Vec<String>,
}

/// php-fpm's name for a TCP socket; an IPv6 address has no brackets.
pub(crate) fn tcp_key(address: SocketAddr) -> Vec<u8> {
    format!("{}:{}", address.ip(), address.port()).into_bytes()
}

/// Where a port alone may be bound.
pub(crate) fn any_keys(port: u16) -> [Vec<u8>; 2] {
    [tcp_key((Ipv6Addr::UNSPECIFIED, port).into()), tcp_key((Ipv4Addr::UNSPECIFIED, port).into())]
}

fn key_of(bound: &Bound) -> Vec<u8> {
    match bound {
        Bound::Unix(path) => path.as_os_str().as_bytes().to_vec(),
        Bound::Tcp(address) => tcp_key(*address),
    }
}

/// The variables' names, in order.
fn names() -> impl Iterator<Item = String> {
    let rest = (1..MOST_VARIABLES).map(|index| format!("{VARIABLE}_{index}"));
    std::iter::once(VARIABLE.to_owned()).chain(rest)
}

/// Key and number.
type Entry = (Vec<u8>, RawFd);

/// Entries of the variables up to the first that is missing, or the texts that are none.
fn entries(env: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Result<Entry, Vec<u8>>> {
    let values = names().map_while(|name| env(name.as_bytes()));
    let texts: Vec<Vec<u8>> = values
        .flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>())
        .filter(|text| !text.is_empty())
        .collect();
    texts.into_iter().map(|text| entry(&text).ok_or(text)).collect()
}

/// `key=number`; a key has no `=`.
fn entry(text: &[u8]) -> Option<Entry> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let digits = std::str::from_utf8(&text[equals + 1..]).ok().filter(|text| is_number(text))?;
    Some((text[..equals].to_vec(), digits.parse().ok()?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Sockets {
    /// Takes over what FPM_SOCKETS names, then what else was handed in. `ours` are the numbers of those that our own
    /// image before a reload made. What is no listening socket is said and left alone.
    pub(crate) fn inherit(
        env: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
        ours: &[RawFd],
        mut handed: HandedIn,
        log: &mut Log,
    ) -> Sockets {
        let mut sockets = Sockets::default();
        handed.complain(log);
        for entry in entries(env) {
            let (key, number) = match entry {
                Ok(entry) => entry,
                Err(text) => {
                    let text = printable(&String::from_utf8_lossy(&text));
                    log.write(
                        Level::Warning,
                        format!("{VARIABLE}: '{text}' is no ADDRESS=DESCRIPTOR, ignored"),
                    );
                    continue;
                }
            };
            let shown = printable(&String::from_utf8_lossy(&key));
            if sockets.list.iter().any(|known| known.fd.as_raw_fd() == number) {
                log.write(
                    Level::Warning,
                    format!("{VARIABLE}: fd={number}, \"{shown}\" is named twice, ignored"),
                );
                continue;
            }
            let withdrawn = handed.withdraw(number);
            let name = withdrawn.as_ref().map(|taken| taken.name.clone());
            match withdrawn.map_or_else(|| listener::inherit(number), |taken| Ok((taken.fd, taken.bound))) {
                Ok((fd, bound)) => {
                    log.write(Level::Notice, format!("using inherited socket fd={number}, \"{shown}\""));
                    let ours = ours.contains(&number);
                    let inherited = Listener::new(key, bound, fd, ours);
                    sockets.list.push(Listener { handed: name, ..inherited });
                }
                Err(error) => {
                    let cause =
                        error.raw_os_error().map_or_else(|| error.to_string(), |_| errno_text(&error));
                    let text =
                        format!("{VARIABLE}: fd={number}, \"{shown}\" is no listening socket, ignored");
                    log.write(Level::Warning, format!("{text}: {cause}"));
                }
            }
        }
        handed.into_sockets().into_iter().for_each(|taken| sockets.take_over(taken, log));
        sockets
    }

    fn take_over(&mut self, taken: handed::Taken, log: &mut Log) {
        if taken.is_stored() {
            return self.take_back(taken, log);
        }
        let key = key_of(&taken.bound);
        let (number, shown) = (taken.number, handed::shown_key(&key));
        log.write(Level::Notice, format!("using inherited socket fd={number}, \"{shown}\""));
        let inherited = Listener::new(key, taken.bound, taken.fd, false);
        self.list.push(Listener { handed: Some(taken.name), ..inherited });
    }

    /// The socket of that name, or else the one that is really bound to it; whether it is TCP.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<(Rc<OwnedFd>, bool)> {
        let there = |listener: &Listener| !listener.lost;
        let named = self.list.iter().position(|listener| there(listener) && listener.key == key);
        let same = |one: &Listener| there(one) && handed::same_address(&key_of(&one.bound), key);
        let found = named.or_else(|| self.list.iter().position(same))?;
        self.hand_out(found)
    }

    fn hand_out(&mut self, place: usize) -> Option<(Rc<OwnedFd>, bool)> {
        let listener = &mut self.list[place];
        // Pools that share one watch it apart, for which each needs a descriptor.
        let fd = match listener.used {
            true => Rc::new(listener.fd.try_clone().ok()?),
            false => listener.fd.clone(),
        };
        listener.used = true;
        Some((fd, matches!(listener.bound, Bound::Tcp(_))))
    }

    /// A new one, just made.
    pub(crate) fn add(&mut self, bound: Bound, fd: OwnedFd) -> Rc<OwnedFd> {
        let made = Listener { used: true, fresh: true, ..Listener::new(key_of(&bound), bound, fd, true) };
        let fd = made.fd.clone();
        self.list.push(made);
        fd
    }

    /// Closes those that no pool has any more, and removes the files of ours. The last one takes the place of a removed
    /// one, as in php-fpm's list. What systemd handed in stays open: a later reload may want it, and could have it from
    /// nobody.
    pub(crate) fn close_unused(&mut self) {
        let mut index = 0;
        while let Some(listener) = self.list.get(index) {
            if listener.used || listener.handed.is_some() {
                index += 1;
            } else {
                listener.unlink();
                if let Bound::Tcp(_) = listener.bound {
                    // Those that are queued are still served.
                    let _ = closing::refuse_newcomers(&listener.fd);
                }
                self.gone.extend(stored::store_name(&listener.bound).filter(|_| listener.stored));
                self.list.swap_remove(index);
            }
        }
    }

    /// Removes the files of ours, but for those that our successor gets.
    pub(crate) fn unlink(&self) {
        self.list.iter().filter(|listener| !listener.stored).for_each(Listener::unlink);
    }

    /// The variables that hand all of them on.
    pub(crate) fn variables(&self) -> Vec<(String, Vec<u8>)> {
        let described = |listener: &Listener| {
            [&listener.key, b"=".as_slice(), listener.fd.as_raw_fd().to_string().as_bytes()].concat()
        };
        let sets = self.list.chunks(PER_VARIABLE);
        names().zip(sets.map(|set| set.iter().map(described).collect::<Vec<_>>().join(&b','))).collect()
    }

    /// Every socket's descriptor, and whether it is ours.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (&OwnedFd, bool)> {
        self.list.iter().map(|listener| (&*listener.fd, listener.ours))
    }
}

impl Listener {
    fn new(key: Vec<u8>, bound: Bound, fd: OwnedFd, ours: bool) -> Listener {
        let file = round::file_id(&bound).filter(|_| ours);
        Listener {
            key,
            bound,
            fd: Rc::new(fd),
            ours,
            used: false,
            used_before: false,
            fresh: false,
            file,
            lost: false,
            handed: None,
            wanted: false,
            stored: false,
            retracted: false,
        }
    }

    fn unlink(&self) {
        if let Ok(Listen::Unix(path)) = Listen::parse(&self.key)
            && self.ours
            && !self.lost
            && !self.retracted
        {
            let _ = fs::remove_file::<PathBuf>(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixListener;

    fn read(variables: &[(&str, &str)]) -> Vec<Result<(String, RawFd), String>> {
        let env = |name: &[u8]| {
            let found = variables.iter().find(|(known, _)| known.as_bytes() == name)?;
            Some(found.1.as_bytes().to_vec())
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let entries = entries(&env).into_iter();
        entries.map(|entry| entry.map(|(key, number)| (text(key), number)).map_err(text)).collect()
    }

    #[test]
    fn variables_are_read_in_order_up_to_the_first_gap() {
        let ok = |key: &str, number| Ok((key.to_owned(), number));
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[("FPM_SOCKETS", "/a=3,:::9000=4")]), [ok("/a", 3), ok(":::9000", 4)]);
        let more = [("FPM_SOCKETS", ""), ("FPM_SOCKETS_1", "/b=5"), ("FPM_SOCKETS_3", "/c=6")];
        assert_eq!(read(&more), [ok("/b", 5)]);
        assert_eq!(read(&[("FPM_SOCKETS_1", "/b=5")]), []);
        for bad in ["x", "/a=", "/a=-1", "/a=3x", "/a=+3", "/a=99999999999", "/a= 3", "=", "/a=b=3"] {
            assert_eq!(read(&[("FPM_SOCKETS", bad)]), [Err(bad.to_owned())], "{bad}");
        }
        assert_eq!(read(&[("FPM_SOCKETS", ",,=7,")]), [ok("", 7)]);
    }

    #[test]
    fn sockets_are_handed_on_as_they_came_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let listeners =
            ["ours", "theirs", "old", "their-old"].map(|name| UnixListener::bind(path(name)).unwrap());
        let [ours, theirs, old, their_old] = listeners.map(IntoRawFd::into_raw_fd);
        let (a, b, c, d) = (path("ours"), path("theirs"), path("old"), path("their-old"));
        let value =
            format!("{c}={old},{a}={ours},{d}={their_old},/other/name={theirs},{a}={ours},/x=99999,nonsense");
        let env = |name: &[u8]| (name == b"FPM_SOCKETS").then(|| value.clone().into_bytes());
        let mut sockets = Sockets::inherit(&env, &[ours, old], HandedIn::default(), &mut Log::default());
        assert!(sockets.find(a.as_bytes()).is_some_and(|(_, tcp)| !tcp));
        // By its real address.
        assert!(sockets.find(b.as_bytes()).is_some());
        assert!(sockets.find(b"/no/such").is_none());
        sockets.close_unused();
        let there = |path: &str| std::path::Path::new(path).exists();
        assert_eq!([&a, &b, &c, &d].map(|path| there(path)), [true, true, false, true]);
        let expected = format!("/other/name={theirs},{a}={ours}");
        assert_eq!(sockets.variables(), [("FPM_SOCKETS".to_owned(), expected.into_bytes())]);
        sockets.unlink();
        assert_eq!([&a, &b].map(|path| there(path)), [false, true]);
    }

    #[test]
    fn a_variable_takes_128_sockets() {
        let mut sockets = Sockets::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for number in 0..300 {
            let bound = Bound::Unix(format!("/s{number}").into());
            sockets.add(bound, listener.try_clone().unwrap().into());
        }
        let variables = sockets.variables();
        let count = |index: usize| variables[index].1.split(|byte| *byte == b',').count();
        assert_eq!((variables.len(), count(0), count(1), count(2)), (3, 128, 128, 44));
        assert_eq!((variables[0].0.as_str(), variables[2].0.as_str()), ("FPM_SOCKETS", "FPM_SOCKETS_2"));
    }
}
