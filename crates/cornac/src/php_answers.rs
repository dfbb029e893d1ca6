//! Questions PHP answers itself (`-v`, `-i`, `-m`): this process becomes the PHP executable with the engine preloaded.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use board::message::{PHP_OPTIONS_VARIABLE, PhpOptions, TASK_VARIABLE, encode};
use master::{exit_code, php};

/// Becomes PHP; returns an exit code only when that fails.
pub(crate) fn exec(task: &str, options: &PhpOptions, argv0: &OsStr) -> u8 {
    let found = php::find_executable(None).and_then(|executable| Ok((executable, php::find_engine()?)));
    let (executable, engine) = match found {
        Ok(found) => found,
        Err(diagnostic) => return complain(&diagnostic.text, exit_code::CONFIGURATION),
    };
    let digits: String = encode(options).iter().map(|byte| format!("{byte:02x}")).collect();
    // The empty word makes a PHP executable without the engine give up at once.
    let error = Command::new(&executable)
        .arg0(argv0)
        .arg(OsString::new())
        .env("LD_PRELOAD", php::preload(&engine))
        .env(TASK_VARIABLE, task)
        .env(PHP_OPTIONS_VARIABLE, digits)
        .exec();
    complain(format!("cannot start {}: {error}", executable.display()).as_bytes(), exit_code::SOFTWARE)
}

fn complain(text: &[u8], code: u8) -> u8 {
    let _ = std::io::stderr().write_all(&[b"cornac: ", text, b"\n"].concat());
    code
}
