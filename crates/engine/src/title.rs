//! What `/proc` shows of this process: its title, written over the memory of the command line, whose length the
//! master chose for it, and the environment it was started with.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

static AREA: OnceLock<&'static [AtomicU8]> = OnceLock::new();
static ENVIRONMENT: OnceLock<Vec<&'static [AtomicU8]>> = OnceLock::new();

/// Remembers where the command line lies. Nobody reads it as arguments after this.
pub(crate) fn remember(arguments: &[*mut c_char]) {
    let Some(first) = arguments.first() else { return };
    // SAFETY: the kernel put a C string there.
    let length = unsafe { CStr::from_ptr(*first) }.to_bytes().len();
    // SAFETY: these bytes are writable for the life of the process; as atomics they may be shared.
    let area = unsafe { std::slice::from_raw_parts(first.cast::<AtomicU8>(), length) };
    let _ = AREA.set(area);
}

/// Remembers where the environment lies that this process was started with; `envp` as `main` gets it.
pub(crate) fn remember_environment(envp: *const *mut c_char) {
    let mut variables: Vec<&'static [AtomicU8]> = Vec::new();
    loop {
        // SAFETY: the array ends with a null pointer, and we stop there.
        let place = unsafe { envp.add(variables.len()) };
        // SAFETY: as above.
        let variable = unsafe { *place };
        if variable.is_null() {
            break;
        }
        // SAFETY: the kernel put a C string there.
        let length = unsafe { CStr::from_ptr(variable) }.to_bytes().len();
        // SAFETY: these bytes are writable for the life of the process; as atomics they may be shared.
        variables.push(unsafe { std::slice::from_raw_parts(variable.cast::<AtomicU8>(), length) });
    }
    let _ = ENVIRONMENT.set(variables);
}

/// Overwrites that environment, which `/proc/PID/environ` would show to scripts though it has been cleared.
/// Nobody may hold pointers into it any more.
pub(crate) fn wipe_environment() {
    let variables = ENVIRONMENT.get().map_or(&[][..], Vec::as_slice);
    variables.iter().flat_map(|variable| variable.iter()).for_each(|byte| byte.store(0, Relaxed));
}

/// Shows `title`, cut to the room there is.
pub(crate) fn show(title: &[u8]) {
    let Some(area) = AREA.get() else { return };
    let padded = title.iter().copied().chain(std::iter::repeat(0));
    for (cell, byte) in area.iter().zip(padded) {
        cell.store(byte, Relaxed);
    }
}
