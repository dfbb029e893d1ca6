//! What the engine was loaded for: the fork server of a pool, or an answer to `-v`, `-i` and `-m`.
//! Exit codes are php-fpm's: 70 when PHP fails, 78 when the executable is no PHP for this engine.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use board::message::{PHP_OPTIONS_VARIABLE, PhpOptions, decode};

use crate::entry::{remove_variable, set_variable};
use crate::{fork_server, ini_files, php, worker};

/// PHP itself failed.
pub(crate) const EXIT_SOFTWARE: i32 = 70;
/// Configuration or executable are not usable.
pub(crate) const EXIT_CONFIG: i32 = 78;

/// Carries out the task and returns the process's exit code.
pub(crate) fn run(task: &OsStr) -> i32 {
    match task.as_bytes() {
        b"pool" => fork_server::run(),
        b"version" => print(php::print_version),
        b"info" => print(php::print_info),
        b"modules" => print(php::print_modules),
        _ => refuse(&format!("unknown engine task {}", task.display())),
    }
}

fn print(printer: fn() -> bool) -> i32 {
    if let Some(problem) = php::host_problem() {
        return refuse(&problem);
    }
    let options = options_from_environment();
    if start_php(&options, php::Startup { as_text: true, ..Default::default() }).is_err() || !printer() {
        return EXIT_SOFTWARE;
    }
    php::shut_down();
    0
}

/// Starts PHP with the command line's options and php-fpm's ini files.
pub(crate) fn start_php(options: &PhpOptions, more: php::Startup) -> Result<(), php::StartupFailed> {
    let files = ini_files::find(options);
    let inherited = std::env::var_os(ini_files::SCAN_VARIABLE);
    if let Some(folders) = &files.scan_folders {
        set_variable(ini_files::SCAN_VARIABLE, folders.clone());
    }
    let startup = php::Startup {
        ini_path: files.path.map(|path| c_string(path.as_os_str().as_bytes())),
        no_ini: options.no_ini,
        extended_info: options.extended_info,
        defines: options.defines.iter().map(|define| c_string(define)).collect(),
        executable: std::fs::read_link("/proc/self/exe")
            .ok()
            .map(|path| c_string(path.as_os_str().as_bytes())),
        ..more
    };
    let started = php::start(&startup, &worker::CALLS);
    match inherited {
        Some(folders) => set_variable(ini_files::SCAN_VARIABLE, folders),
        None => remove_variable(ini_files::SCAN_VARIABLE),
    }
    started
}

/// `bytes` up to the first NUL, as C would read them.
pub(crate) fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).expect("no NUL before its first position")
}

fn options_from_environment() -> PhpOptions {
    let text = std::env::var(PHP_OPTIONS_VARIABLE).unwrap_or_default();
    remove_variable(PHP_OPTIONS_VARIABLE);
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    bytes.and_then(|bytes| decode(&bytes).ok()).unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "an answer to a command line, not a log line")]
fn refuse(sentence: &str) -> i32 {
    eprintln!("cornac: {sentence}");
    EXIT_CONFIG
}
