//! The border to C: `shim/shim.h` mirrored, and safe functions over it. The only module that declares
//! foreign functions. PHP's own types never come here.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::{io, ptr};

use trace::Layout;

use crate::entry::bytes_of;

/// Bytes with a length. `start` may be null, which means: not set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) start: *const c_char,
    pub(crate) length: usize,
}

impl Text {
    pub(crate) fn new(bytes: &[u8]) -> Text {
        Text { start: bytes.as_ptr().cast(), length: bytes.len() }
    }

    /// # Safety
    /// `start` is null or points to `length` bytes that outlive the result.
    pub(crate) unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: as the caller promises.
        (!self.start.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) })
    }
}

/// One meta-variable; both texts end with a NUL behind their length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: Text,
    pub(crate) value: Text,
}

/// A response head as PHP holds it.
#[repr(C)]
pub(crate) struct Head {
    pub(crate) status: c_int,
    pub(crate) status_line: Text,
    pub(crate) lines: *const Text,
    pub(crate) line_count: usize,
    pub(crate) nph: bool,
    pub(crate) rfc2616_headers: bool,
}

/// The pool for fpm_get_status().
#[repr(C)]
pub(crate) struct Status {
    pub(crate) pool: Text,
    pub(crate) process_manager: Text,
    pub(crate) start_time: i64,
    pub(crate) start_since: i64,
    pub(crate) accepted: i64,
    pub(crate) listen_queue: i64,
    pub(crate) max_listen_queue: i64,
    pub(crate) listen_queue_len: i64,
    pub(crate) idle: i64,
    pub(crate) active: i64,
    pub(crate) total: i64,
    pub(crate) max_active: i64,
    pub(crate) max_children_reached: i64,
    pub(crate) slow_requests: i64,
    pub(crate) slot_count: usize,
}

/// One worker for fpm_get_status().
#[repr(C)]
pub(crate) struct SlotStatus {
    pub(crate) used: bool,
    pub(crate) pid: i64,
    pub(crate) start_time: i64,
    pub(crate) start_since: i64,
    pub(crate) requests: i64,
    pub(crate) duration_us: i64,
    pub(crate) content_length: i64,
    pub(crate) memory: i64,
    pub(crate) cpu: f64,
    pub(crate) state: Text,
    pub(crate) method: Text,
    pub(crate) uri: Text,
    pub(crate) query: Text,
    pub(crate) user: Text,
    pub(crate) script: Text,
}

/// The status page.
#[repr(C)]
pub(crate) struct Page {
    pub(crate) content_type: Text,
    pub(crate) body: Text,
}

/// Result of an upcall that notices a vanished peer.
pub(crate) const ABORTED: c_int = -1;
/// The reply had been ended before.
pub(crate) const ALREADY: c_int = 0;
/// It is done.
pub(crate) const DONE: c_int = 1;

/// A log line stays in the log.
pub(crate) const LOG_ONLY: c_int = 0;
/// A log line goes to the web server too, cut at `log_limit` as in the log.
pub(crate) const PEER_CUT: c_int = 2;

/// What Rust does for PHP; see `shim.h`.
#[repr(C)]
pub(crate) struct Calls {
    pub(crate) write: extern "C" fn(*mut c_void, *const c_char, usize) -> i64,
    pub(crate) flush: extern "C" fn(*mut c_void) -> c_int,
    pub(crate) head: extern "C" fn(*mut c_void, *const Head) -> c_int,
    pub(crate) read_body: extern "C" fn(*mut c_void, *mut c_char, usize) -> usize,
    pub(crate) param: extern "C" fn(*mut c_void, *const c_char, usize) -> *const c_char,
    pub(crate) params: extern "C" fn(*mut c_void, *mut usize) -> *const Param,
    pub(crate) log: extern "C" fn(*mut c_void, c_int, *const c_char, usize, c_int) -> c_int,
    pub(crate) finish: extern "C" fn(*mut c_void) -> c_int,
    /// The script goes on though its reply has been sent.
    pub(crate) go_on: extern "C" fn(*mut c_void),
    /// User of Basic authentication, request URI, script, each may be null.
    pub(crate) request_started: extern "C" fn(*mut c_void, *const c_char, *const c_char, *const c_char),
    pub(crate) script_starting: extern "C" fn(*mut c_void),
    /// Response code, peak memory in bytes, and the response's headers if they are logged.
    pub(crate) script_ended: extern "C" fn(*mut c_void, c_int, u64, *const Text, usize),
    pub(crate) status: extern "C" fn(*mut Status) -> bool,
    pub(crate) slot: extern "C" fn(usize, *mut SlotStatus),
    /// The words of `observe::status::WORDS` that are in the query, one bit each; PHP's character set is UTF-8.
    pub(crate) status_page: extern "C" fn(u32, bool, *mut Page) -> bool,
}

#[repr(C)]
struct StartupOptions {
    ini_path: *const c_char,
    no_ini: bool,
    as_text: bool,
    extended_info: bool,
    defines: *const *const c_char,
    define_count: usize,
    pool_ini: *const c_char,
    executable: *const c_char,
}

#[repr(C)]
struct RawSettings {
    fix_pathinfo: bool,
    discard_path: bool,
    doc_root: Text,
}

/// What to do with a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    NotFound,
    Denied,
    Ping,
    Status,
}

/// A request as PHP gets it. The texts are NUL-terminated or null and stay until it is over.
#[repr(C)]
pub(crate) struct Request {
    pub(crate) request: *mut c_void,
    pub(crate) verdict: Verdict,
    pub(crate) status: c_int,
    pub(crate) method: *const c_char,
    pub(crate) query: *const c_char,
    pub(crate) content_type: *const c_char,
    pub(crate) request_uri: *const c_char,
    pub(crate) script: *const c_char,
    pub(crate) cookie: *const c_char,
    pub(crate) authorization: *const c_char,
    pub(crate) php_value: *const c_char,
    pub(crate) php_admin_value: *const c_char,
    pub(crate) body_file: *const c_char,
    pub(crate) path_info: *const c_char,
    pub(crate) document_root: *const c_char,
    pub(crate) server_name: *const c_char,
    pub(crate) content_length: i64,
    pub(crate) ping_response: Text,
    /// `script_ended` gets the response's headers.
    pub(crate) logs_headers: bool,
}

/// What became of a request. Made by C alone.
#[repr(C)]
#[expect(dead_code, reason = "constructed by the shim")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The worker may take the next one.
    Served,
    /// Served, but the process must not serve another one.
    Retire,
    /// The engine bailed out: the process ends.
    Broken,
}

/// `struct shim_sources`.
#[repr(C)]
pub(crate) struct RawSources {
    ini_file: *const c_char,
    scanned_files: *const c_char,
    scanned_folders: *const c_char,
    extension_folder: *const c_char,
}

mod shim {
    use super::{Calls, Layout, Outcome, RawSettings, Request, StartupOptions, Text};
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub(super) fn shim_host_problem() -> *const c_char;
        pub(super) fn shim_php_version() -> *const c_char;
        pub(super) fn shim_startup(options: *const StartupOptions, calls: *const Calls) -> c_int;
        pub(super) fn shim_startup_warnings() -> *const c_char;
        pub(super) fn shim_sources() -> super::RawSources;
        pub(super) fn shim_shutdown();
        pub(super) fn shim_disable_module_functions(name: *const c_char);
        pub(super) fn shim_worker_begin();
        pub(super) fn shim_print_version() -> c_int;
        pub(super) fn shim_print_info() -> c_int;
        pub(super) fn shim_print_modules() -> c_int;
        pub(super) fn shim_ini_directory() -> *const c_char;
        pub(super) fn shim_ini_set(name: Text, value: Text, admin: bool) -> c_int;
        pub(super) fn shim_companion_start(socket: c_int) -> c_int;
        pub(super) fn shim_layout() -> Layout;
        pub(super) fn shim_settings() -> RawSettings;
        pub(super) fn shim_path_resolves(path: *const c_char) -> bool;
        pub(super) fn shim_request_run(request: *const Request) -> Outcome;
    }
}

/// Why this executable cannot host the engine; `None` if it can.
pub(crate) fn host_problem() -> Option<String> {
    // SAFETY: the function looks symbols up and touches nothing of PHP.
    let problem = unsafe { shim::shim_host_problem() };
    // SAFETY: null or a C string in a static buffer.
    unsafe { bytes_of(problem) }.map(|text| String::from_utf8_lossy(text).into_owned())
}

/// The host's version, `8.2.35`, once PHP has started.
pub(crate) fn version() -> String {
    // SAFETY: returns a static buffer.
    let version = unsafe { shim::shim_php_version() };
    // SAFETY: a C string in a static buffer.
    String::from_utf8_lossy(unsafe { bytes_of(version) }.unwrap_or_default()).into_owned()
}

/// php.ini's folder in the build whose headers the engine was compiled with.
pub(crate) fn ini_directory() -> &'static str {
    // SAFETY: returns a string constant.
    let folder = unsafe { shim::shim_ini_directory() };
    // SAFETY: a string constant.
    std::str::from_utf8(unsafe { bytes_of(folder) }.unwrap_or_default()).unwrap_or_default()
}

/// Where backtraces are found in this process and in those forked from it.
pub(crate) fn layout() -> Layout {
    // SAFETY: PHP has been started; the function takes addresses and reads nothing.
    unsafe { shim::shim_layout() }
}

/// Starts this process's companion, which takes a copy of the socket.
pub(crate) fn start_companion(socket: c_int) -> io::Result<()> {
    // SAFETY: the new task shares our memory and uses none of it but its own stack; it never returns.
    match unsafe { shim::shim_companion_start(socket) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Options of PHP's start-up.
#[derive(Default)]
pub(crate) struct Startup {
    pub(crate) ini_path: Option<CString>,
    pub(crate) no_ini: bool,
    pub(crate) as_text: bool,
    pub(crate) extended_info: bool,
    pub(crate) defines: Vec<CString>,
    /// Further lines of php.ini.
    pub(crate) pool_ini: Option<CString>,
    pub(crate) executable: Option<CString>,
}

/// PHP's start-up could not be completed.
#[derive(Debug)]
pub(crate) struct StartupFailed;

/// Starts PHP in this process. Once.
pub(crate) fn start(options: &Startup, calls: &'static Calls) -> Result<(), StartupFailed> {
    let pointer = |text: &Option<CString>| text.as_deref().map_or(ptr::null(), CStr::as_ptr);
    let defines: Vec<*const c_char> = options.defines.iter().map(|define| define.as_ptr()).collect();
    let raw = StartupOptions {
        ini_path: pointer(&options.ini_path),
        no_ini: options.no_ini,
        as_text: options.as_text,
        extended_info: options.extended_info,
        defines: defines.as_ptr(),
        define_count: defines.len(),
        pool_ini: pointer(&options.pool_ini),
        executable: pointer(&options.executable),
    };
    // SAFETY: the options outlive the call, which copies what it keeps; the table of calls is static.
    match unsafe { shim::shim_startup(&raw, calls) } {
        0 => Ok(()),
        _ => Err(StartupFailed),
    }
}

/// What PHP warned of while it started, such as extensions that could not be loaded.
pub(crate) fn startup_warnings() -> Vec<String> {
    // SAFETY: returns a C string that stays.
    let text = unsafe { shim::shim_startup_warnings() };
    // SAFETY: as above.
    let text = String::from_utf8_lossy(unsafe { bytes_of(text) }.unwrap_or_default()).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// What PHP's start-up has read.
pub(crate) struct Sources {
    pub(crate) ini_file: Option<PathBuf>,
    pub(crate) scanned_files: Vec<PathBuf>,
    pub(crate) scanned_folders: Vec<PathBuf>,
    pub(crate) extension_folder: Option<PathBuf>,
}

/// To be called once PHP has started.
pub(crate) fn sources() -> Sources {
    // SAFETY: PHP has been started; the texts stay as they are.
    let raw = unsafe { shim::shim_sources() };
    let paths = |text: *const c_char, separator: u8| -> Vec<PathBuf> {
        // SAFETY: null or a C string of PHP's that stays.
        let text = unsafe { bytes_of(text) }.unwrap_or_default();
        let parts = text.split(|byte| *byte == separator).map(<[u8]>::trim_ascii);
        parts.filter(|part| !part.is_empty()).map(|part| OsStr::from_bytes(part).into()).collect()
    };
    Sources {
        ini_file: paths(raw.ini_file, 0).pop(),
        scanned_files: paths(raw.scanned_files, b','),
        scanned_folders: paths(raw.scanned_folders, b':'),
        extension_folder: paths(raw.extension_folder, 0).pop(),
    }
}

/// Ends PHP in this process; extensions write out what they still hold.
pub(crate) fn shut_down() {
    // SAFETY: PHP has been started in this process or its parent, and no request is active.
    unsafe { shim::shim_shutdown() };
}

/// Takes a module's functions away from scripts.
pub(crate) fn disable_module_functions(name: &CStr) {
    // SAFETY: a C string; PHP has been started, and no request is active.
    unsafe { shim::shim_disable_module_functions(name.as_ptr()) };
}

/// Prepares a freshly forked worker, after its signal handlers are in place.
pub(crate) fn begin_worker() {
    // SAFETY: PHP has been started in the parent; called once.
    unsafe { shim::shim_worker_begin() };
}

/// Prints what `php-fpm -v` prints. False if a request for it could not be started.
pub(crate) fn print_version() -> bool {
    // SAFETY: PHP has been started, and no request is active.
    unsafe { shim::shim_print_version() == 0 }
}

/// Prints what `php-fpm -i` prints.
pub(crate) fn print_info() -> bool {
    // SAFETY: PHP has been started, and no request is active.
    unsafe { shim::shim_print_info() == 0 }
}

/// Prints what `php-fpm -m` prints.
pub(crate) fn print_modules() -> bool {
    // SAFETY: PHP has been started, and no request is active.
    unsafe { shim::shim_print_modules() == 0 }
}

/// Sets an ini setting for good. False if PHP has none of that name.
pub(crate) fn set_ini(name: &CStr, value: &CStr, admin: bool) -> bool {
    let (name, value) = (Text::new(name.to_bytes()), Text::new(value.to_bytes()));
    // SAFETY: both texts end with a NUL; PHP has been started, and no request is active.
    unsafe { shim::shim_ini_set(name, value, admin) == 0 }
}

/// The ini settings that decide which script a request means.
pub(crate) fn script_settings<'a>() -> cgi::script::Settings<'a> {
    // SAFETY: PHP has been started.
    let raw = unsafe { shim::shim_settings() };
    cgi::script::Settings {
        fix_pathinfo: raw.fix_pathinfo,
        discard_path: raw.discard_path,
        // SAFETY: the setting's value stays as it is until the settings of a request are applied.
        doc_root: unsafe { raw.doc_root.bytes() },
    }
}

/// Whether the path exists, by PHP's realpath cache.
pub(crate) fn path_resolves(path: &CStr) -> bool {
    // SAFETY: a C string; PHP has been started.
    unsafe { shim::shim_path_resolves(path.as_ptr()) }
}

/// Runs one request from PHP's request start-up to its shutdown.
///
/// # Safety
/// `request.request` is what the upcalls expect, and its texts are as `Request` says; nobody else uses
/// what it points to until the call returns.
pub(crate) unsafe fn run(request: &Request) -> Outcome {
    // SAFETY: as the caller promises; PHP has been started and this is a worker.
    unsafe { shim::shim_request_run(request) }
}
