//! The harness of the end-to-end tests: the same request, the same signal, the same command line goes to php-fpm and
//! to cornac, and what came back is compared. A test never asserts what php-fpm does from memory: php-fpm runs beside
//! cornac and says it. Every server lives in its own temporary folder and only processes started here are signalled.
//!
//! Environment: `CORNAC_BIN` names the executable under test, `CORNAC_TEST_SUBJECT` puts any other binary in its place
//! (php-fpm itself, to check the tests), `CORNAC_TEST_REFERENCE` the reference, `CORNAC_CASE` runs only the cases
//! whose name contains it, `CORNAC_SCENARIOS` names a file to which every comparison adds its line, `CORNAC_SHOW` prints what php-fpm answered, `CORNAC_KEEP` keeps the temporary folders.
//!
//! ```text
//! cargo test -p cornac-tests --test headers                                    # one theme
//! cargo test -p cornac-tests --test headers status_and_headers                 # one group of cases
//! CORNAC_CASE="Location after 201" cargo test -p cornac-tests --test headers   # one case
//! ```

pub mod binary;
pub mod case;
pub mod client;
pub mod compare;
pub mod http;
pub mod installed;
pub mod nginx;
pub mod pair;
pub mod play;
pub mod processes;
pub mod response;
pub mod run;
pub mod scene;
pub mod server;
pub mod setup;
pub mod site;
pub mod tester;
pub mod traffic;
pub mod wait;

pub use case::Case;
pub use client::{Client, Reply, Request};
pub use nix::sys::signal::Signal;
pub use pair::{Pair, Runs, compare_runs, skip_unless_root};
pub use play::{Play, Plays, Scene};
pub use server::{Server, Side};
pub use setup::Setup;
pub use traffic::{Manner, Tally, Traffic};
