//! One hostile peer: sends what it was given, in pieces, and leaves in one of several ways.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// How the peer leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaving {
    /// Closes at once, whatever was to come.
    Close,
    /// Closes its writing half and expects an end: an answer, or a closed connection.
    HalfClose,
    /// Reads until the server waits for more, then closes.
    Read,
    /// Resets the connection (TCP), or reads no more (unix socket).
    Reset,
}

/// Sends everything in so many pieces and leaves. `Err` if the server neither answers nor closes, else how
/// many bytes it answered, as far as they were read.
pub(crate) fn talk(
    mut stream: UnixStream,
    bytes: &[u8],
    pieces: usize,
    leaving: Leaving,
) -> io::Result<usize> {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        match stream.write_all(piece) {
            Ok(()) => {}
            Err(error) if is_silence(&error) => return Err(error),
            Err(_closed) => break,
        }
    }
    match leaving {
        Leaving::Close => Ok(0),
        Leaving::HalfClose => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(&mut stream)
        }
        Leaving::Read => {
            stream.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(read_to_end(&mut stream).unwrap_or(0))
        }
        Leaving::Reset => {
            // Only TCP sends a reset; a unix socket just refuses what the server still writes.
            let _ = setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
            let _ = stream.shutdown(std::net::Shutdown::Read);
            Ok(0)
        }
    }
}

/// Reads until the server closes: how many bytes came. `Err` when it is silent instead.
pub(crate) fn read_to_end(stream: &mut UnixStream) -> io::Result<usize> {
    let mut buffer = [0; 1 << 16];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Ok(read) => count += read,
            Err(error) if is_silence(&error) => return Err(error),
            Err(_reset) => return Ok(count),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
