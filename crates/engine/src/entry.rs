//! How the engine gets control: it interposes the C library's `__libc_start_main`, which every dynamic
//! executable calls first. Without a task in the environment it steps aside and the host program runs.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStringExt;

use board::message::TASK_VARIABLE;

use crate::{task, title};

type Main = unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type StartMain = unsafe extern "C" fn(
    Main,
    c_int,
    *mut *mut c_char,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// Stands in front of the C library's function of this name and hands it our `main`.
///
/// # Safety
/// Called once, by the start code of the executable, as the C library expects it.
#[unsafe(no_mangle)]
#[expect(unreachable_pub, reason = "the dynamic loader reaches it")]
pub unsafe extern "C" fn __libc_start_main(
    host_main: Main,
    argc: c_int,
    argv: *mut *mut c_char,
    init: *mut c_void,
    fini: *mut c_void,
    rtld_fini: *mut c_void,
    stack_end: *mut c_void,
) -> c_int {
    // SAFETY: the name is a C string and RTLD_NEXT asks for the definition after ours.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"__libc_start_main".as_ptr()) };
    if next.is_null() {
        std::process::abort();
    }
    // SAFETY: the symbol of this name has this type in every C library the engine runs on.
    let next: StartMain = unsafe { std::mem::transmute::<*mut c_void, StartMain>(next) };
    let main = if std::env::var_os(TASK_VARIABLE).is_some() { engine_main } else { host_main };
    // SAFETY: the arguments are those the start code meant for this function, but for `main`.
    unsafe { next(main, argc, argv, init, fini, rtld_fini, stack_end) }
}

unsafe extern "C" fn engine_main(argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) -> c_int {
    title::remember_environment(envp);
    let task = std::env::var_os(TASK_VARIABLE).unwrap_or_default();
    remove_variable(TASK_VARIABLE);
    step_out_of_preload();
    // SAFETY: the C library passes `argc` pointers to C strings that stay where they are.
    let arguments = unsafe { std::slice::from_raw_parts(argv, argc.max(0) as usize) };
    title::remember(arguments);
    task::run(&task)
}

/// Takes the engine, which the master put first, out of LD_PRELOAD, so that programs a script starts do
/// not get it.
fn step_out_of_preload() {
    let preload = std::env::var_os("LD_PRELOAD").unwrap_or_default().into_vec();
    match preload.iter().position(|byte| matches!(byte, b':' | b' ')) {
        Some(first) => set_variable("LD_PRELOAD", OsString::from_vec(preload[first + 1..].to_vec())),
        None => remove_variable("LD_PRELOAD"),
    }
}

/// Removes a variable from the environment.
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var(name) };
}

/// Sets a variable of the environment.
pub(crate) fn set_variable(name: impl AsRef<OsStr>, value: OsString) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var(name, value) };
}

/// A C string's bytes; `None` for a null pointer.
///
/// # Safety
/// `text` is null or points to a C string that outlives the result.
pub(crate) unsafe fn bytes_of<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}
