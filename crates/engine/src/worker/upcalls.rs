//! What PHP asks of us while it runs a request. All have one shape: take the pointer for the exchange,
//! call safe code, return a status or data. None calls PHP; C acts on what is returned.

use std::ffi::{c_char, c_int, c_void};

use board::scoreboard::{RequestInfo, Stage};
use fastcgi::response::Stream;

use super::access::Ended;
use super::{Exchange, clock, status};
use crate::entry::bytes_of;
use crate::log::{self, Level};
use crate::php::{self, ABORTED, Calls, DONE, Head, Param, Text};

/// The table the shim gets.
pub(crate) static CALLS: Calls = Calls {
    write,
    flush,
    head,
    read_body,
    param,
    params,
    log,
    finish,
    go_on,
    request_started,
    script_starting,
    script_ended,
    status: status::status,
    slot: status::slot,
    status_page: status::page,
};

/// The exchange behind the pointer that `php::run` was given.
fn exchange<'a>(request: *mut c_void) -> &'a mut Exchange {
    // SAFETY: `Exchange::run_php` passes its own exchange and does not touch it until PHP returns; upcalls
    // never overlap, since none calls PHP.
    unsafe { &mut *request.cast::<Exchange>() }
}

/// # Safety
/// `start` points to `length` bytes that outlive the result.
unsafe fn slice<'a>(start: *const c_char, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start.cast(), length) }
}

extern "C" fn write(request: *mut c_void, data: *const c_char, length: usize) -> i64 {
    let Exchange { connection, output, .. } = exchange(request);
    // SAFETY: the shim passes PHP's output buffer.
    let content = unsafe { slice(data, length) };
    match output.write(connection, Stream::Stdout, content) {
        Ok(()) => length as i64,
        Err(_) => ABORTED.into(),
    }
}

extern "C" fn flush(request: *mut c_void) -> c_int {
    let Exchange { connection, output, .. } = exchange(request);
    if output.flush(connection).is_ok() { DONE } else { ABORTED }
}

extern "C" fn head(request: *mut c_void, head: *const Head) -> c_int {
    let Exchange { output, .. } = exchange(request);
    // SAFETY: the shim passes a head that lives until we return.
    let head = unsafe { &*head };
    // SAFETY: PHP's status line, a C string measured by the shim, or null.
    let line = unsafe { head.status_line.bytes() };
    let status =
        cgi::head::Status { code: head.status, line, nph: head.nph, rfc2616_headers: head.rfc2616_headers };
    // SAFETY: the shim passes that many lines.
    let lines = unsafe { texts(head.lines, head.line_count) };
    // SAFETY: each line is a header as PHP holds it.
    let lines = lines.iter().map(|line| unsafe { line.bytes() }.unwrap_or_default());
    output.write_head(|buffer| cgi::head::encode(status, lines, buffer));
    DONE
}

extern "C" fn read_body(request: *mut c_void, buffer: *mut c_char, length: usize) -> usize {
    let Exchange { connection, incoming, .. } = exchange(request);
    // SAFETY: the shim passes PHP's buffer of that length; bytes need no initial value to be written, and
    // PHP's buffers are plain memory.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    incoming.read_body(connection, buffer)
}

extern "C" fn param(request: *mut c_void, name: *const c_char, length: usize) -> *const c_char {
    // SAFETY: the shim passes a name of that length.
    exchange(request).incoming.params.c_value(unsafe { slice(name, length) })
}

extern "C" fn params(request: *mut c_void, count: *mut usize) -> *const Param {
    let list = exchange(request).incoming.params.list();
    // SAFETY: the shim passes a place for the count.
    unsafe { count.write(list.len()) };
    list.as_ptr()
}

/// Every message goes to the log by its level; one that belongs to a request goes to the web server
/// whatever its level.
extern "C" fn log(
    request: *mut c_void,
    level: c_int,
    text: *const c_char,
    length: usize,
    to_peer: c_int,
) -> c_int {
    // SAFETY: the shim passes a text of that length.
    let text = unsafe { slice(text, length) };
    let level = Level::from_number(level);
    log::write(level, text);
    if request.is_null() || to_peer == php::LOG_ONLY || text.is_empty() {
        return DONE;
    }
    let text = if to_peer == php::PEER_CUT { log::cut(level, text) } else { text.into() };
    let Exchange { connection, output, .. } = exchange(request);
    if output.is_over() || output.message(connection, &text).is_ok() { DONE } else { ABORTED }
}

extern "C" fn finish(request: *mut c_void) -> c_int {
    exchange(request).finish()
}

extern "C" fn go_on(request: *mut c_void) {
    exchange(request).let_connection_go();
}

extern "C" fn request_started(
    request: *mut c_void,
    user: *const c_char,
    uri: *const c_char,
    script: *const c_char,
) {
    let Exchange { place, incoming, access, .. } = exchange(request);
    let [user, uri, script] = [user, uri, script].map(|text| {
        // SAFETY: C strings or null, all alive until the request is over.
        unsafe { bytes_of(text) }.unwrap_or_default()
    });
    let value = |name: &[u8]| incoming.params.value(name).unwrap_or_default();
    let info = RequestInfo {
        method: value(b"REQUEST_METHOD"),
        uri,
        query: value(b"QUERY_STRING"),
        user,
        script,
        content_length: cgi::content_length(incoming.params.value(b"CONTENT_LENGTH")),
    };
    place.slot.describe_request(&info);
    if let Some(access) = access {
        access.remember(&info);
    }
}

extern "C" fn script_starting(request: *mut c_void) {
    exchange(request).place.enter(Stage::Running);
}

/// The texts of `count` lines.
///
/// # Safety
/// `lines` points to so many, and they outlive the result.
unsafe fn texts<'a>(lines: *const Text, count: usize) -> &'a [Text] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(lines, count) }
}

extern "C" fn script_ended(
    request: *mut c_void,
    status: c_int,
    peak_memory: u64,
    headers: *const Text,
    count: usize,
) {
    let Exchange { place, times, access, incoming, .. } = exchange(request);
    let duration = clock::monotonic_us().saturating_sub(times.started);
    let cpu = clock::cpu_us();
    let used = cpu.saturating_sub(std::mem::replace(&mut times.cpu, cpu));
    let percent = if duration == 0 { 0.0 } else { used as f64 * 100.0 / duration as f64 };
    place.slot.end_request(duration, percent, peak_memory);
    place.enter(Stage::Finishing);
    if let Some(access) = access {
        // SAFETY: the shim passes the response's headers, which PHP keeps until the request's end.
        let headers = unsafe { texts(headers, count) };
        access.write(&Ended { status, duration, peak_memory, params: &incoming.params, headers });
    }
}
