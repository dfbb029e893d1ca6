//! The command. Called as `php-fpm…`, or as `cornac fpm …`, it takes php-fpm's command line (`fpm`); otherwise its own
//! (`own`). It only reads arguments and says what the master or PHP shall do.
#![forbid(unsafe_code)]

mod ask;
mod docs;
mod fpm;
mod own;
mod php_answers;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use config::Options;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map_or(Path::new("cornac"), Path::new);
    let as_fpm = name.file_name().is_some_and(|name| name.as_bytes().starts_with(b"php-fpm"));
    let code = match arguments.get(1) {
        _ if as_fpm => {
            fpm::run(&fpm::program_name(name.as_os_str().as_bytes()), name.as_os_str(), &arguments[1..])
        }
        Some(first) if first == "fpm" => fpm::run("cornac fpm", name.as_os_str(), &arguments[2..]),
        _ => own::run(&arguments),
    };
    ExitCode::from(code)
}

/// How configurations are read on this machine, whoever asks.
fn base_options() -> Options {
    let layout = master::php::layout();
    Options {
        is_root: sys::users::is_root(),
        overlay: Some("/etc/cornac/overlay.conf".into()),
        php_prefix: layout.prefix,
        sysconfdir: layout.sysconfdir,
        localstatedir: layout.localstatedir,
        ..Options::default()
    }
}
