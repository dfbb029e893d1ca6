//! The backtrace of a PHP script, read from the memory of its process while that goes on running: it is never
//! stopped. Everything read is hostile: the process runs PHP. No I/O (a `Memory` is given), no unsafe, bounds on
//! everything.
//!
//! A process that runs changes while it is read. So a trace is put together from small pieces of memory, and then all
//! of them are read again at once: if nothing has changed, they were true together (`take`).
#![forbid(unsafe_code)]

mod layout;
mod pieces;
mod text;
mod walk;

use std::io;

use serde::{Deserialize, Serialize};

pub use layout::Layout;
pub use pieces::MOST_RANGES;
use pieces::Pieces;
pub use text::slow_log_entry;

/// A range of another process's memory: address and length.
pub type Piece = (u64, usize);

/// Another process's memory.
pub trait Memory {
    /// Appends the bytes of all pieces (at most `MOST_RANGES`) to `into`, read as much at one time as possible, or fails: with EFAULT if one
    /// of them is not there.
    fn read(&self, pieces: &[Piece], into: &mut Vec<u8>) -> io::Result<()>;
}

impl<F: Fn(&[Piece], &mut Vec<u8>) -> io::Result<()>> Memory for F {
    fn read(&self, pieces: &[Piece], into: &mut Vec<u8>) -> io::Result<()> {
        self(pieces, into)
    }
}

/// A call that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where PHP keeps it.
    pub address: u64,
    /// Name of the function, without its class.
    pub function: Vec<u8>,
    /// File of the call; empty if unknown.
    pub file: Vec<u8>,
    /// Line of the call.
    pub line: u32,
}

/// What a script is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The script that the request asked for; `None` where there is none.
    pub script: Option<Vec<u8>>,
    /// Innermost call first. The code of the main script itself is no call.
    pub frames: Vec<Frame>,
    /// The frames are all there are, or as many as were asked for.
    pub complete: bool,
}

/// How often a process that changes is looked at.
const ATTEMPTS: usize = 64;
/// How often something doubtful has to be seen to be believed.
const DOUBTS: usize = 16;
/// However deep a trace is asked for.
const MOST_FRAMES: usize = 10_000;
/// Looks at memory, whether it is there already or has to be read: at least, and for each frame that is asked for. An
/// honest process needs about twenty a frame and attempt.
const LOOKS: (usize, usize) = (20_000, 200);

/// Reads the backtrace, at most `depth` frames of it. If the process changes too fast, the frames of the last look that
/// were read at one time. Fails if the memory cannot be read at all.
pub fn take(memory: &impl Memory, layout: &Layout, depth: usize) -> io::Result<Trace> {
    let depth = depth.min(MOST_FRAMES);
    let looks = LOOKS.0 + depth * LOOKS.1;
    let mut pieces = Pieces::new(memory, looks);
    let mut doubts = 0;
    for _ in 0..ATTEMPTS {
        let found = walk::walk(&mut pieces, layout, depth);
        let (doubtful, changed) = (pieces.were_doubtful(), pieces.have_changed()?);
        if pieces.is_exhausted() {
            break;
        }
        doubts += usize::from(doubtful && !changed);
        if !changed && (!doubtful || doubts == DOUBTS) {
            return Ok(found);
        }
    }
    pieces.freeze(looks);
    Ok(walk::walk(&mut pieces, layout, depth))
}
