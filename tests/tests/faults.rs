//! Faults under load: something of the server is killed, stopped, starved or lied to while clients send requests
//! without pause. Every request is counted. What php-fpm loses with the same fault stands beside it, printed.

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/master.rs"]
mod master;
#[path = "faults/servers.rs"]
mod servers;
#[path = "faults/workers.rs"]
mod workers;

use cornac_tests::Server;
use cornac_tests::traffic::say;

/// Waits until the log has the text so many times, and returns the last line with it.
fn line_with(server: &Server, text: &str, times: usize) -> String {
    server.wait_log_times(text, times);
    server.log().lines().rfind(|line| line.contains(text)).unwrap_or_default().to_owned()
}
