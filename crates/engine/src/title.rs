//! The process title that `ps` shows: written over the memory of the command line, whose length the master
//! chose for it.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

static AREA: OnceLock<&'static [AtomicU8]> = OnceLock::new();

/// Remembers where the command line lies. Nobody reads it as arguments after this.
pub(crate) fn remember(arguments: &[*mut c_char]) {
    let Some(first) = arguments.first() else { return };
    // SAFETY: the kernel put a C string there.
    let length = unsafe { CStr::from_ptr(*first) }.to_bytes().len();
    // SAFETY: these bytes are writable for the life of the process; as atomics they may be shared.
    let area = unsafe { std::slice::from_raw_parts(first.cast::<AtomicU8>(), length) };
    let _ = AREA.set(area);
}

/// Shows `title`, cut to the room there is.
pub(crate) fn show(title: &[u8]) {
    let Some(area) = AREA.get() else { return };
    let padded = title.iter().copied().chain(std::iter::repeat(0));
    for (cell, byte) in area.iter().zip(padded) {
        cell.store(byte, Relaxed);
    }
}
