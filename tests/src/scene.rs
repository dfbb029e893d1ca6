//! What several themes need of a running server: its traces, and a request that lasts until it is told to end.

use crate::client::{Client, Request};
use crate::compare::mask;
use crate::server::Server;
use crate::setup::Setup;

const SLOW: &str = "<?php echo 'begun'; flush(); while (!file_exists(dirname(__DIR__) . '/tmp/go')) usleep(2000); echo ' ended';";

/// Output and log of a server, masked.
pub fn traces(server: &Server) -> String {
    let text = format!("stdout: {}\nstderr: {}\nlog:\n{}", server.stdout(), server.stderr(), server.log());
    mask(server, &text, &[])
}

/// Two workers and the script that [`begun`] asks for; it ends when `tmp/go` is written.
pub fn slow() -> Setup {
    Setup::new().script("slow.php", SLOW).www("php_flag[output_buffering] = off\npm.max_children = 2")
}

/// A connection on which the slow script has begun.
pub fn begun(server: &Server) -> Client {
    let mut client = server.connect();
    client.write(&Request::get(server, "/slow.php").encode()).expect("sent");
    let first = client.read_record();
    assert!(first.is_some_and(|(_, content)| content.ends_with(b"begun")), "the slow script has not begun");
    client
}
