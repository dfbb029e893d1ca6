//! The last words of a worker that crashes, or that an extension ends in the middle of a request: if nothing of the
//! answer has been sent, the web server gets error 500 rather than a closed connection. What has been sent in part is
//! left as it is: an end would make it look complete. Everything here runs in a signal handler, perhaps of a process
//! whose memory is in disorder: no allocation, no lock, nothing but a few system calls and what lies in statics.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use fastcgi::record::{HEADER_LEN, ProtocolStatus};
use fastcgi::response::{Stream, end_request, stream_header};
use libc::{c_int, c_void, siginfo_t};

/// Faults, and limits of the process. PHP's time limit and all signals that somebody sends on purpose are others.
const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGXCPU, libc::SIGXFSZ];
/// A fault comes again when its instruction is run again.
const FAULTS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// As PHP answers a fatal error that it does not display. The web server's log gets the message.
const HEAD: &[u8] = b"Status: 500 Internal Server Error\r\nContent-type: text/html; charset=UTF-8\r\n\r\n";
const MESSAGE: &[u8] = b"The worker that ran this request crashed";
/// No longer than the other.
const ABANDONED: &[u8] = b"The server of this request was killed";
const ROOM: usize = 3 * HEADER_LEN + MESSAGE.len() + HEAD.len() + 2 * 8 + 8;
/// As a shell tells of a command that a signal ended.
const APP_STATUS: u32 = 128;
/// Of an extension that ends the process.
const ENDED: u32 = 255;

/// The connection and request that can still be answered: descriptor, a mark, request id; 0: there is none.
static ANSWERABLE: AtomicU64 = AtomicU64::new(0);
const MARK: u64 = 1 << 16;
/// Nobody else may answer: a process that a script forked has the connection, too.
static WORKER: AtomicI32 = AtomicI32::new(0);

/// The stack of the handler: the script's own may have overflowed.
struct Stack(UnsafeCell<[u8; 64 * 1024]>);
// SAFETY: only the kernel hands it out, to one handler at a time of the one thread that has it.
unsafe impl Sync for Stack {}
static STACK: Stack = Stack(UnsafeCell::new([0; 64 * 1024]));

/// Nothing of this request's answer has been sent yet.
pub(super) fn answerable(connection: RawFd, request_id: u16) {
    let number = u64::try_from(connection).unwrap_or(0) << 32;
    ANSWERABLE.store(number | MARK | u64::from(request_id), Relaxed);
}

/// Something has been sent, or nothing can be any more.
pub(super) fn not_answerable() {
    ANSWERABLE.store(0, Relaxed);
}

/// From now on this process has last words. A signal that an extension handles is left to it.
pub(super) fn install() {
    WORKER.store(std::process::id() as i32, Relaxed);
    let stack = libc::stack_t { ss_sp: STACK.0.get().cast(), ss_flags: 0, ss_size: size_of_val(&STACK) };
    // SAFETY: the stack is as large as it says, lives for ever and serves nothing else.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
    SIGNALS.into_iter().filter(|signal| is_default(*signal)).for_each(handle);
    // SAFETY: the function takes nothing, returns nothing and does not unwind.
    unsafe { libc::atexit(on_exit) };
}

fn is_default(signal: c_int) -> bool {
    // SAFETY: all bytes zero are an action.
    let mut current: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel fills in the action, or leaves it as it is.
    let known = unsafe { libc::sigaction(signal, ptr::null(), &mut current) };
    known == 0 && current.sa_sigaction == libc::SIG_DFL
}

fn handle(signal: c_int) {
    // SAFETY: all bytes zero are an action: the default one.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_crash;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the mask is ours to fill.
    unsafe { libc::sigfillset(&mut action.sa_mask) };
    // SAFETY: the handler has the form that SA_SIGINFO asks for, and calls only what is safe in one.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

/// Answers, then lets the signal do what it would have done: the process ends by it, with a core where that is wanted.
extern "C" fn on_crash(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    answer(APP_STATUS + signal as u32, MESSAGE);
    // SAFETY: the default action has no handler of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: the kernel passes the signal's description.
    let comes_again = FAULTS.contains(&signal) && unsafe { (*info).si_code } > 0;
    if !comes_again {
        // SAFETY: it is blocked here, and comes when the handler returns.
        unsafe { libc::raise(signal) };
    }
}

/// A worker ends by `_exit`: who comes here is an extension that calls `exit`.
extern "C" fn on_exit() {
    answer(ENDED, MESSAGE);
}

/// The process ends at once, in the middle of a request. In a signal handler.
pub(super) fn answer_abandoned() {
    answer(ENDED, ABANDONED);
}

fn answer(app_status: u32, message: &[u8]) {
    let known = ANSWERABLE.swap(0, Relaxed);
    // SAFETY: getpid has no preconditions.
    if known == 0 || unsafe { libc::getpid() } != WORKER.load(Relaxed) {
        return;
    }
    let (connection, request_id) = ((known >> 32) as RawFd, known as u16);
    let mut reply = [0; ROOM];
    let mut length = 0;
    let mut append = |bytes: &[u8]| {
        // Neither can panic: there is room for all of them.
        if let Some(place) = reply.get_mut(length..length + bytes.len()) {
            place.copy_from_slice(bytes);
            length += bytes.len();
        }
    };
    for (stream, content) in [(Stream::Stderr, message), (Stream::Stdout, HEAD)] {
        append(&stream_header(stream, request_id, content.len() as u16));
        append(content);
        append(fastcgi::response::padding(content.len() as u16));
    }
    append(&end_request(request_id, app_status, ProtocolStatus::RequestComplete));
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer has that many bytes.
    unsafe { libc::send(connection, reply.as_ptr().cast(), length, flags) };
    discard_input(connection);
}

/// A close with unread input would reset the connection, and the peer might lose the answer.
fn discard_input(connection: RawFd) {
    // SAFETY: takes integers only.
    unsafe { libc::shutdown(connection, libc::SHUT_WR) };
    let mut rest = [0u8; 4096];
    for _ in 0..64 {
        // SAFETY: the buffer has as many bytes as it says.
        let read =
            unsafe { libc::recv(connection, rest.as_mut_ptr().cast(), rest.len(), libc::MSG_DONTWAIT) };
        if read <= 0 {
            return;
        }
    }
}
