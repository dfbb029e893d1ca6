//! Local time in any of `strftime`'s formats, by the C library: its locale is PHP's, which scripts change.

use std::ffi::CStr;
use std::mem::MaybeUninit;

unsafe extern "C" {
    fn tzset();
}

/// Reads the time zone from the environment: after that has changed. Only in a process with one thread.
pub fn read_zone() {
    // SAFETY: tzset reads TZ; the caller's process has one thread, so nobody changes the environment meanwhile.
    unsafe { tzset() };
}

/// Writes a time into `out` and returns the length; 0 if there is no room, or nothing to write.
pub fn format(format: &CStr, epoch_seconds: u64, out: &mut [u8]) -> usize {
    let seconds = libc::time_t::try_from(epoch_seconds).unwrap_or(libc::time_t::MAX);
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: `seconds` and `parts` are places of their types.
    if unsafe { libc::localtime_r(&seconds, parts.as_mut_ptr()) }.is_null() {
        return 0;
    }
    // SAFETY: localtime_r did not fail, so it filled `parts` in.
    let parts = unsafe { parts.assume_init() };
    // SAFETY: `out` has that much room, the format is a C string, and `parts` a complete time.
    unsafe { libc::strftime(out.as_mut_ptr().cast(), out.len(), format.as_ptr(), &parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_room() {
        let mut out = [0; 32];
        let length = format(c"%s %Y", 951_782_400, &mut out);
        assert_eq!(&out[..length], b"951782400 2000");
        assert_eq!(format(c"%Y", 0, &mut out[..4]), 0);
        assert_eq!(format(c"%Y", u64::MAX, &mut out), 0);
        assert_eq!(format(c"", 0, &mut out), 0);
    }
}
