//! One-shot runs of the command: `-t`, `-v`, wrong options, configurations that fail. Output and exit code as text.

use std::os::unix::process::CommandExt;

use crate::compare::{mask, mask_volatile};
use crate::server::{Server, Side};
use crate::setup::Setup;

/// Starts a server that is meant to end by itself, and returns exit code, stdout, stderr and log, masked.
pub fn until_exit(side: Side, setup: &Setup) -> String {
    let server = Server::launch(side, setup);
    let code = server.wait_exit();
    let text = format!(
        "exit: {code}\nstdout:\n{}\nstderr:\n{}\nlog:\n{}",
        server.stdout(),
        server.stderr(),
        server.log()
    );
    mask(&server, &text, &[])
}

/// Runs the command with exactly these words and waits for its end; same text as [`until_exit`]. `{dir}/good.conf` and
/// `{dir}/etc/php-fpm.conf` can be used.
pub fn command_line(side: Side, words: &[&str]) -> String {
    let site = crate::site::Site::create("fpm-cmd-");
    let good = Setup::new().config();
    for name in ["good.conf", "etc/php-fpm.conf"] {
        site.write(name, crate::server::fill_in(&good, site.path(), &[1, 2]).as_bytes());
    }
    let mut command = crate::server::command(side, &site, &[]);
    let fill = |word: &&str| word.replace("{dir}", &site.path().to_string_lossy());
    let status = command.args(words.iter().map(fill)).arg0("/test/php-fpm").status().expect("command starts");
    let text = format!(
        "exit: {:?}\nstdout:\n{}\nstderr:\n{}",
        status.code(),
        site.read("stdout"),
        site.read("stderr")
    );
    mask_volatile(&text).replace(&*site.path().to_string_lossy(), "{dir}")
}
