//! A worker: accepts a connection on the pool's listening socket, reads a request, has PHP run it, sends
//! the response, and so on. Never returns to the fork server's code.
//!
//! ```text
//! listener ─► connection ─► incoming ─► script ─► (shim) ─► upcalls ─► output ─► connection
//! ```

mod connection;
mod incoming;
mod listener;
mod output;
mod params;
mod quit;
mod script;
mod status;
mod upcalls;

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use board::message::PoolSpec;
use board::scoreboard::{Board, Slot, Stage};

use crate::log::{self, Level};
use crate::php::{self, Outcome};
use crate::task::EXIT_SOFTWARE;
use crate::title;
use connection::{Connection, Wait};
use incoming::Incoming;
use listener::{Accepted, Listener};
use output::Output;
pub(crate) use upcalls::CALLS;

/// Where a worker lives: its pool and its slot.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) spec: &'static PoolSpec,
    pub(crate) board: &'static Board,
    pub(crate) slot: &'static Slot,
}

/// One request and the connection it came on. Lives outside PHP's stack and is reset, not rebuilt.
pub(crate) struct Exchange {
    place: Place,
    connection: Connection,
    incoming: Incoming,
    output: Output,
    clock: Clock,
    /// The connection stays open after the current request.
    keep: bool,
    /// Requests this worker has run.
    served: u64,
}

/// Times of the current request.
#[derive(Default)]
struct Clock {
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
pub(crate) fn live(place: Place, listener: RawFd, output: Vec<OwnedFd>) -> ! {
    redirect_output(output);
    title::show(&[b"php-fpm: pool ", place.spec.pool.as_slice()].concat());
    quit::install(listener);
    php::begin_worker();
    status::remember(place.board);
    let pid = std::process::id();
    place.slot.occupy(pid, sys_clock::epoch_seconds());
    let Some(listener) = Listener::new(listener, place.spec) else { leave(place, EXIT_SOFTWARE) };
    let exchange = Box::leak(Box::new(Exchange {
        place,
        connection: Connection::new(Duration::from_millis(place.spec.read_timeout_ms)),
        incoming: Incoming::default(),
        output: Output::default(),
        clock: Clock::default(),
        keep: false,
        served: 0,
    }));
    let code = serve(exchange, &listener);
    leave(place, code)
}

/// stdout and stderr go to the master's pipes or nowhere, stdin comes from nowhere.
fn redirect_output(output: Vec<OwnedFd>) {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.ok().map(OwnedFd::from);
    let targets = [null.as_ref(), output.first().or(null.as_ref()), output.get(1).or(null.as_ref())];
    for (number, source) in (0..).zip(targets) {
        if let Some(source) = source {
            // SAFETY: both are descriptors of this process; 0 to 2 are meant to be replaced.
            unsafe { libc::dup2(source.as_raw_fd(), number) };
        }
    }
}

fn leave(place: Place, code: i32) -> ! {
    // SAFETY: SIGALRM's default action ends the process should an extension hang in its shutdown.
    unsafe { libc::alarm(5) };
    php::shut_down();
    place.slot.vacate();
    // SAFETY: _exit runs no destructors, which belong to the fork server.
    unsafe { libc::_exit(code) }
}

/// Serves until asked to end; returns the exit code.
fn serve(exchange: &mut Exchange, listener: &Listener) -> i32 {
    loop {
        exchange.place.slot.enter(Stage::Accepting);
        match listener.accept() {
            Accepted::Peer(socket, tcp) => exchange.open(socket, tcp),
            Accepted::Dropped => continue,
            Accepted::Over => return 0,
        }
        loop {
            match exchange.serve_request() {
                Next::Leave(code) => return code,
                Next::Keep if exchange.await_next(listener) => {}
                Next::Keep | Next::Close => break,
            }
        }
        exchange.connection.close(true);
        if quit::requested() {
            return 0;
        }
    }
}

impl Exchange {
    fn open(&mut self, socket: OwnedFd, tcp: bool) {
        self.connection.open(socket, tcp);
        self.incoming.new_connection();
    }

    /// Reads one request and has PHP run it.
    fn serve_request(&mut self) -> Next {
        self.incoming.reset();
        self.output.reset();
        if self.read_request().is_err() {
            self.connection.abandon();
            return Next::Close;
        }
        let Some(begin) = self.incoming.begin() else { return Next::Close };
        self.served += 1;
        let last = self.served == self.place.spec.max_requests;
        self.keep = begin.keep_connection && !last && !quit::requested();
        self.output.begin(begin.request_id);
        self.connection.hurry_small_packets(self.keep);
        let outcome = self.run_php();
        self.place.slot.enter(Stage::Finishing);
        self.finish();
        self.incoming.end();
        match outcome {
            Outcome::Broken => Next::Leave(EXIT_SOFTWARE),
            Outcome::Retire => Next::Leave(0),
            Outcome::Served if last => Next::Leave(0),
            Outcome::Served if self.keep && self.connection.is_open() => Next::Keep,
            Outcome::Served => Next::Close,
        }
    }

    /// Reads until the parameters are complete. The clock starts with the first bytes.
    fn read_request(&mut self) -> Result<(), connection::Gone> {
        self.connection.fill(Wait::FirstByte)?;
        self.clock.started = sys_clock::monotonic_us();
        self.place.slot.begin_request(self.clock.started);
        self.place.board.header().accepted.fetch_add(1, Relaxed);
        self.incoming.read_params(&mut self.connection)
    }

    fn run_php(&mut self) -> Outcome {
        self.place.slot.enter(Stage::GettingInformation);
        let resolved = script::resolve(&mut self.incoming.params, self.place.spec);
        let context: *mut Exchange = self;
        let request = resolved.request(&self.incoming.params, context.cast::<c_void>());
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
            }
            php::ALREADY => {}
            _ => self.connection.abandon(),
        }
        finished
    }

    /// Waits for the next request on a kept connection, or for a reason to give it up.
    fn await_next(&mut self, listener: &Listener) -> bool {
        if self.connection.has_input() {
            return true;
        }
        self.place.slot.enter(Stage::KeptIdle);
        listener.await_kept(&self.connection, self.place.board)
    }
}

mod sys_clock {
    //! The clocks a worker reads. None is a system call, but for the CPU clock.

    use nix::time::{ClockId, clock_gettime};

    fn micros(clock: ClockId) -> u64 {
        clock_gettime(clock)
            .map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000)
    }

    pub(super) fn epoch_seconds() -> u64 {
        micros(ClockId::CLOCK_REALTIME) / 1_000_000
    }

    pub(super) fn monotonic_us() -> u64 {
        micros(ClockId::CLOCK_MONOTONIC)
    }

    pub(super) fn cpu_us() -> u64 {
        micros(ClockId::CLOCK_PROCESS_CPUTIME_ID)
    }
}
