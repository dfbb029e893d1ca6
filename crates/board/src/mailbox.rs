//! What goes through a pool's mailbox: a connected pair of sockets that all its workers hold one end of, and its fork
//! server the other. Kept connections travel as descriptors, never as bytes: nothing of a next request has been read.
//!
//! ```text
//! worker ──── Parked: connections nobody needs a worker for ────► fork server
//! worker ──── Watch: tell me when somebody comes ───────────────► fork server
//! worker ◄─── Parked: one with a request on it ─────────────────── fork server
//! ```

use sys::mail::MOST_FDS;

/// Longest message: a kind, and a byte for each descriptor.
pub const LONGEST: usize = 1 + MOST_FDS;

const PARKED: u8 = 1;
const WATCH: u8 = 2;

/// What has been set on a connection's socket, for whoever gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// SO_RCVTIMEO.
    pub waits_in_receive: bool,
}

impl Traits {
    fn to_byte(self) -> u8 {
        u8::from(self.no_delay) | u8::from(self.waits_in_receive) << 1
    }

    fn from_byte(byte: u8) -> Traits {
        Traits { no_delay: byte & 1 != 0, waits_in_receive: byte & 2 != 0 }
    }
}

/// A message, without its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// So many connections, in the order of the descriptors.
    Parked(Vec<Traits>),
    /// The listening socket needs somebody who watches it.
    Watch,
}

impl Mail {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Mail::Parked(traits) => {
                [PARKED].into_iter().chain(traits.iter().map(|traits| traits.to_byte())).collect()
            }
            Mail::Watch => vec![WATCH],
        }
    }

    /// From bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Mail> {
        match bytes {
            [PARKED, traits @ ..] => {
                Some(Mail::Parked(traits.iter().copied().map(Traits::from_byte).collect()))
            }
            [WATCH] => Some(Mail::Watch),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_comes_back_as_it_was() {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        let traits = all.map(|(no_delay, waits_in_receive)| Traits { no_delay, waits_in_receive });
        for mail in [Mail::Parked(traits.to_vec()), Mail::Parked(Vec::new()), Mail::Watch] {
            assert_eq!(Mail::decode(&mail.encode()), Some(mail));
        }
        for noise in [&b""[..], b"\0", b"\x02\x02", b"\xff\xff"] {
            assert_eq!(Mail::decode(noise), None);
        }
    }
}
