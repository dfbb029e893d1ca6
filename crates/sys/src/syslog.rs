//! The system log, through the C library.

use std::ffi::{CStr, CString};

/// An open connection to the system log; there is one per process.
#[derive(Debug)]
pub struct Syslog {
    _identity: &'static CStr,
}

impl Syslog {
    /// Opens it with an identity (kept for good, the C library holds on to it) and a facility (`LOG_*`).
    pub fn open(identity: &[u8], facility: i32) -> Syslog {
        let text: Vec<u8> = identity.iter().copied().filter(|byte| *byte != 0).collect();
        let identity: &'static CStr = Box::leak(CString::new(text).unwrap_or_default().into_boxed_c_str());
        // SAFETY: the identity ends in NUL and lives as long as the process, as openlog demands.
        unsafe { libc::openlog(identity.as_ptr(), libc::LOG_PID | libc::LOG_CONS, facility) };
        Syslog { _identity: identity }
    }

    /// Writes one message at a priority (`LOG_DEBUG` … `LOG_ALERT`).
    pub fn write(&self, priority: i32, message: &[u8]) {
        let text: Vec<u8> = message.iter().copied().filter(|byte| *byte != 0).collect();
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: the format takes exactly one string, which ends in NUL.
        unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
    }
}
