//! A worker: accepts a connection on the pool's listening socket, reads a request, has PHP run it, sends
//! the response, and so on. Never returns to the fork server's code.
//!
//! ```text
//! listener ─► connection ─► incoming ─► script ─► (shim) ─► upcalls ─► output ─► connection
//! ```

mod access;
mod clock;
mod connection;
mod crash;
mod incoming;
mod listener;
mod output;
mod params;
mod quit;
mod script;
mod status;
mod upcalls;

use std::ffi::{c_int, c_void};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use board::message::{PoolSpec, fds};
use board::scoreboard::{Board, Slot, Stage};

use crate::log::{self, Level};
use crate::php::{self, Outcome};
use crate::task::EXIT_SOFTWARE;
use crate::title;
use access::AccessLog;
use connection::{Connection, Gone, Wait};
use fastcgi::server::Begin;
use incoming::Incoming;
use listener::{Accepted, Listener};
use output::Output;
pub(crate) use upcalls::CALLS;

/// Nice value of PHP's shutdown.
const LEAVING: i32 = 10;
/// A kept connection that has been idle for so long is not about to be used by the web server: closing one just
/// when the next request is on its way would lose that request.
const SURELY_IDLE: Duration = Duration::from_secs(1);

/// Where a worker lives: its pool, its slot, and what it is for.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) spec: &'static PoolSpec,
    pub(crate) board: &'static Board,
    pub(crate) slot: &'static Slot,
    /// What the status page shows: ours, or that of the pool we show it for.
    pub(crate) shown: &'static Board,
    pub(crate) listener: RawFd,
}

/// One request and the connection it came on. Lives outside PHP's stack and is reset, not rebuilt.
pub(crate) struct Exchange {
    place: Place,
    connection: Connection,
    incoming: Incoming,
    output: Output,
    times: Times,
    access: Option<AccessLog>,
    /// The connection stays open after the current request.
    keep: bool,
    /// Requests this worker has run.
    served: u64,
}

/// Times of the current request.
#[derive(Default)]
struct Times {
    /// Microseconds of the monotonic clock.
    started: u64,
    /// Microseconds of CPU time used by this process so far.
    cpu: u64,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
    /// Close, and end this process with the code.
    Leave(i32),
}

/// A worker's whole life.
pub(crate) fn live(place: Place, access_log: Option<RawFd>, output: Vec<OwnedFd>) -> ! {
    redirect_output(output);
    title::show(&[b"php-fpm: pool ", place.spec.pool.as_slice()].concat());
    if quit::install(place.listener).is_err() {
        leave(place, EXIT_SOFTWARE);
    }
    crash::install();
    php::begin_worker();
    status::remember(place);
    let pid = std::process::id();
    place.board.occupy(place.slot, pid, clock::epoch_seconds());
    let access = access_log.and_then(|fd| AccessLog::new(fd, place.spec, pid));
    let listener = Listener::new(place, access.as_ref().is_some_and(AccessLog::shows_peer));
    let exchange = Box::leak(Box::new(Exchange {
        place,
        connection: Connection::new(Duration::from_millis(place.spec.read_timeout_ms)),
        incoming: Incoming::default(),
        output: Output::default(),
        times: Times::default(),
        access,
        keep: false,
        served: 0,
    }));
    let code = serve(exchange, &listener);
    leave(place, code)
}

/// stdout and stderr go to the master's pipes or nowhere.
fn redirect_output(output: Vec<OwnedFd>) {
    // The master made 0 and 1 /dev/null, which a chroot may lack; 2 still is the fork server's.
    let targets = [(1, output.first()), (2, output.get(1))];
    for (number, source) in targets {
        // SAFETY: both are descriptors of this process; 1 and 2 are meant to be replaced.
        unsafe { libc::dup2(source.map_or(0, AsRawFd::as_raw_fd), number) };
    }
}

fn leave(place: Place, code: i32) -> ! {
    // SAFETY: SIGALRM's default action ends the process should an extension hang in its shutdown.
    unsafe { libc::alarm(5) };
    // Who was asked to leave is not waited for; others serve meanwhile.
    if place.is_asked() {
        let _ = sys::process::set_priority(LEAVING);
    }
    php::shut_down();
    place.board.vacate(place.slot);
    // SAFETY: _exit runs no destructors, which belong to the fork server.
    unsafe { libc::_exit(code) }
}

/// Serves until asked to end; returns the exit code.
fn serve(exchange: &mut Exchange, listener: &Listener) -> i32 {
    loop {
        exchange.place.enter(Stage::Accepting);
        if exchange.place.is_asked() {
            return 0;
        }
        match listener.accept() {
            Accepted::Peer(socket, address) => exchange.open(socket, address),
            Accepted::Dropped => continue,
            Accepted::Over => return 0,
            // No clean end: the next worker will fare no better, and is not to follow at once.
            Accepted::Broken => return EXIT_SOFTWARE,
        }
        exchange.place.occupy();
        let code = exchange.serve_connection(listener);
        exchange.place.release();
        if let Some(code) = code {
            return code;
        }
    }
}

impl Place {
    fn enter(self, stage: Stage) {
        self.board.enter(self.slot, stage);
    }

    /// This worker has been asked to end.
    fn is_asked(self) -> bool {
        quit::requested() || self.slot.is_asked()
    }

    /// To be called once a stage that does not wait has followed one that waits.
    fn has_waited(self) {
        if self.slot.is_asked() {
            quit::hold_back();
        }
    }

    /// The master is told when too few workers are left that wait for connections.
    fn occupy(self) {
        self.enter(Stage::Accepted);
        self.has_waited();
        if self.spec.wakes && self.board.header().occupy() {
            // SAFETY: write reads one byte, which the buffer has.
            unsafe { libc::write(fds::WAKE, b"!".as_ptr().cast(), 1) };
        }
    }

    fn release(self) {
        if self.spec.wakes {
            self.board.header().release();
        }
    }
}

impl Exchange {
    /// Serves what comes on the connection; returns the exit code when this process has to end.
    fn serve_connection(&mut self, listener: &Listener) -> Option<i32> {
        loop {
            match self.serve_request(listener) {
                Next::Leave(code) => return Some(code),
                Next::Keep => {}
                Next::Close => break,
            }
        }
        self.place.is_asked().then_some(0)
    }

    fn open(&mut self, socket: OwnedFd, peer: Option<IpAddr>) {
        self.connection.open(socket, self.place.spec.tcp);
        if let Some(access) = &mut self.access {
            access.new_connection(peer);
        }
        self.incoming.new_connection();
        self.keep = false;
    }

    /// Reads one request and has PHP run it.
    fn serve_request(&mut self, listener: &Listener) -> Next {
        self.incoming.reset();
        self.output.reset();
        let Ok(begin) = self.read_request(listener) else {
            self.connection.abandon();
            return Next::Close;
        };
        self.served += 1;
        let last = self.served == self.place.spec.max_requests;
        self.keep = begin.keep_connection && !last && !self.place.is_asked();
        self.output.begin(begin.request_id);
        crash::answerable(self.connection.raw(), begin.request_id);
        self.connection.hurry_small_packets(self.keep);
        let outcome = self.run_php();
        self.place.enter(Stage::Finishing);
        self.finish();
        log::end_of_request(self.place.spec.capture_output);
        self.incoming.end();
        match outcome {
            Outcome::Broken => Next::Leave(EXIT_SOFTWARE),
            Outcome::Retire => Next::Leave(0),
            Outcome::Served if last => Next::Leave(0),
            Outcome::Served if self.keep && self.connection.is_open() => Next::Keep,
            Outcome::Served => Next::Close,
        }
    }

    /// Reads until the parameters are complete. A request counts, and its clock runs, from its BEGIN_REQUEST:
    /// what is left of the last one on a kept connection is no request.
    fn read_request(&mut self, listener: &Listener) -> Result<Begin, Gone> {
        let begin = loop {
            if let Some(begin) = self.incoming.take_begin(&mut self.connection)? {
                break begin;
            }
            self.await_bytes(listener)?;
        };
        self.times.started = clock::monotonic_us();
        self.connection.start_deadline();
        self.place.board.begin_request(self.place.slot, self.times.started);
        self.place.has_waited();
        if let Some(access) = &mut self.access {
            access.begin();
        }
        self.incoming.read_params(&mut self.connection)?;
        Ok(begin)
    }

    /// Waits for a request's first bytes: on a kept connection as long as nobody else needs the worker, on a
    /// new one not for long.
    fn await_bytes(&mut self, listener: &Listener) -> Result<(), Gone> {
        if self.keep && self.incoming.is_idle() {
            self.place.enter(Stage::KeptIdle);
            if self.place.is_asked() {
                return Err(Gone);
            }
            if self.connection.receive_kept(SURELY_IDLE)? {
                return Ok(());
            }
            listener.await_kept(&self.connection, self.place)?;
        }
        self.connection.fill(Wait::FirstByte)
    }

    fn run_php(&mut self) -> Outcome {
        self.place.enter(Stage::GettingInformation);
        // PHP's messages about scripts it cannot open show what `errno` holds, and not every failure sets it.
        nix::errno::Errno::clear();
        let resolved = script::resolve(&mut self.incoming.params, self.place.spec);
        let context: *mut Exchange = self;
        let mut request = resolved.request(&self.incoming.params, context.cast::<c_void>());
        request.logs_headers = self.access.as_ref().is_some_and(AccessLog::shows_headers);
        // SAFETY: upcalls take the pointer for an `Exchange`, which `self` is; nothing of it is used here
        // until the call returns, and the texts lie in `incoming` and `resolved`, which upcalls only read.
        let outcome = unsafe { php::run(&request) };
        if outcome == Outcome::Broken {
            log::write(Level::Error, b"the request ended in a failure of the engine");
        }
        outcome
    }

    /// Ends the reply, and the connection unless it is kept. Done when PHP shuts the request down, earlier by
    /// `fastcgi_finish_request()`, and at the latest, after a failure, by us.
    fn finish(&mut self) -> c_int {
        let finished = self.output.finish(&mut self.connection);
        match finished {
            php::DONE if self.keep => {}
            php::DONE => {
                self.incoming.skip_rest(&mut self.connection);
                self.connection.close(self.incoming.is_complete());
                self.place.enter(Stage::Finishing);
            }
            php::ALREADY => {}
            _ => self.connection.abandon(),
        }
        finished
    }
}
