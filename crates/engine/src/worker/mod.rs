//! A worker: accepts a connection on the pool's listening socket, reads a request, has PHP run it, sends
//! the response, and so on. Never returns to the fork server's code.
//!
//! ```text
//! listener ─► connection ─► incoming ─► script ─► (shim) ─► upcalls ─► output ─► connection
//! ```

mod access;
mod bereaved;
mod clock;
mod connection;
mod crash;
mod incoming;
mod listener;
mod mailbox;
mod nudge;
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
use connection::{Connection, Gone, Heard, Wait};
use fastcgi::server::Begin;
use incoming::Incoming;
use listener::{Accepted, Listener};
pub(crate) use mailbox::Mailbox;
pub(crate) use nudge::signal_number as nudge_signal;
use output::Output;
pub(crate) use upcalls::CALLS;

/// Nice value of PHP's shutdown.
const LEAVING: i32 = 10;
/// A kept connection that has been idle for so long is not about to be used by the web server: closing one just
/// when the next request is on its way would lose that request.
const SURELY_IDLE: Duration = Duration::from_secs(1);

/// For so long one kept connection may be served on while others wait.
const TURN_US: u64 = 2_000;
/// How often a worker looks itself whether somebody waits on the listening socket: in turn with the mailbox, and on a
/// busy kept connection, where the fork server would have called it long ago.
const LOOK_US: u64 = 2_000;
const LOOK_SELDOM_US: u64 = 20_000;

/// How long, and in what steps, a worker waits at the end of the service for requests on parked connections: somewhat
/// longer than until those that are silent are closed.
const LAST_WAIT_US: u64 = 2_000_000;
const LAST_LOOK_MS: u8 = 20;

/// Where a worker lives: its pool, its slot, and what it is for.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) spec: &'static PoolSpec,
    pub(crate) board: &'static Board,
    pub(crate) slot: &'static Slot,
    /// What the status page shows: ours, or that of the pool we show it for.
    pub(crate) shown: &'static Board,
    pub(crate) listener: RawFd,
    pub(crate) mailbox: Mailbox,
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
    turn: Turn,
}

/// Whose turn it is. Times in microseconds of the monotonic clock.
#[derive(Default)]
struct Turn {
    /// This connection has been served since.
    began: u64,
    /// It was taken from the mailbox, and nothing of its request has been read.
    is_new: bool,
    /// The last one came from the mailbox.
    from_mailbox: bool,
    /// The last look at the listening socket, and whether somebody was there.
    looked: u64,
    found: bool,
    /// Only parked connections have been waited for since.
    waits_since: Option<u64>,
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
    nudge::install();
    if quit::install(place.listener, place.board.header()).is_err() {
        leave(place, EXIT_SOFTWARE);
    }
    crash::install();
    php::begin_worker();
    status::remember(place);
    bereaved::install(place.slot);
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
        turn: Turn::default(),
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
        exchange.place.wait(Stage::Accepting);
        let may_accept = !exchange.place.is_asked() || exchange.place.board.header().may_take_another();
        if !may_accept && !exchange.awaits_parked() {
            return 0;
        }
        // Whoever goes there need not be called.
        exchange.place.calls().answer_queue();
        if exchange.take_parked(listener).is_none() {
            if !may_accept {
                continue;
            }
            match listener.accept() {
                Accepted::Peer(socket, address) => {
                    if exchange.place.is_asked() {
                        exchange.place.board.header().took_another();
                    }
                    exchange.open(socket, address);
                }
                Accepted::Dropped => continue,
                Accepted::Over if exchange.awaits_parked() => continue,
                Accepted::Over => return 0,
                // No clean end: the next worker will fare no better, and is not to follow at once.
                Accepted::Broken => return EXIT_SOFTWARE,
                // A successor has its descriptors free, unless there never were enough.
                Accepted::Exhausted if exchange.served > 0 => return 0,
                Accepted::Exhausted => return EXIT_SOFTWARE,
            }
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

    /// A stage in which the worker waits for somebody who wants something.
    fn wait(self, stage: Stage) {
        self.may_be_nudged();
        self.enter(stage);
    }

    /// To be called once a stage that does not wait has followed one that waits.
    fn has_waited(self) {
        if self.slot.is_asked() {
            quit::hold_back();
        }
        self.not_to_be_nudged();
    }

    /// The master is told when too few workers are left that wait for connections.
    fn occupy(self) {
        self.enter(Stage::Accepted);
        self.has_waited();
        let others = self.board.header().counts.load();
        if others.accepting() == 0 && others.kept_idle() > 0 {
            self.leave_watch_to_fork_server();
        }
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
        let goes_on = self.place.board.header().is_draining() && !self.has_served_enough();
        (self.must_end() && !goes_on).then_some(0)
    }

    fn open(&mut self, socket: OwnedFd, peer: Option<IpAddr>) {
        self.connection.open(socket, self.place.spec.tcp);
        if let Some(access) = &mut self.access {
            access.new_connection(peer);
        }
        self.incoming.new_connection();
        self.keep = false;
        self.turn.began = clock::monotonic_us();
        self.turn.waits_since = None;
        self.turn.is_new = false;
    }

    /// This worker has been asked to end, or has run as many requests as it may.
    fn must_end(&self) -> bool {
        self.place.is_asked() || self.has_served_enough()
    }

    fn has_served_enough(&self) -> bool {
        let most = self.place.spec.max_requests;
        most > 0 && self.served >= most
    }

    /// A parked connection with a request on it, in turn with the listening socket.
    fn take_parked(&mut self, listener: &Listener) -> Option<()> {
        if !self.place.calls().has_ready() {
            return None;
        }
        if self.turn.from_mailbox && self.finds_queued(listener) {
            self.turn.from_mailbox = false;
            return None;
        }
        let (socket, traits) = self.place.take_parked()?;
        self.turn.from_mailbox = true;
        let peer = listener.admit(&socket)?;
        self.open(socket, peer);
        self.connection.recall(traits);
        self.keep = true;
        self.turn.is_new = true;
        Some(())
    }

    /// Before the end of the service: the fork server closes kept connections once they are silent for a while, and
    /// what comes until then is served. False when there is nothing more to wait for, or not for so long.
    fn awaits_parked(&mut self) -> bool {
        let (header, now) = (self.place.board.header(), clock::monotonic_us());
        let since = *self.turn.waits_since.get_or_insert(now);
        let awaits = header.is_draining() && header.calls.holds_any() && now - since < LAST_WAIT_US;
        if awaits && !header.calls.has_ready() {
            self.place.await_mail(LAST_LOOK_MS);
        }
        awaits
    }

    /// Looks at the listening socket, every time while somebody is there.
    fn finds_queued(&mut self, listener: &Listener) -> bool {
        let pause = if self.turn.found { 0 } else { LOOK_US };
        self.looks_at_queue(listener, pause)
    }

    /// Looks at the listening socket, if the last look is so long ago.
    fn looks_at_queue(&mut self, listener: &Listener, pause: u64) -> bool {
        let now = clock::monotonic_us();
        if now.saturating_sub(self.turn.looked) < pause {
            return false;
        }
        self.turn.looked = now;
        self.turn.found = listener.has_queued();
        self.turn.found
    }

    /// Somebody needs this worker more than its idle kept connection does.
    fn is_wanted_elsewhere(&mut self, listener: &Listener) -> bool {
        let calls = self.place.calls();
        self.must_end()
            || calls.has_ready()
            || calls.is_queued()
            || self.looks_at_queue(listener, LOOK_SELDOM_US)
    }

    /// Leaves the connection to the fork server. False if it has to stay: something of a next request has been read,
    /// or the fork server takes none.
    fn park(&mut self) -> bool {
        let idle = self.keep && self.incoming.is_idle() && !self.connection.has_input();
        let Some(socket) = self.connection.socket().filter(|_| idle) else { return false };
        let parked = self.place.park(socket, self.connection.traits());
        if parked {
            self.connection.abandon();
        }
        parked
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
        self.keep = begin.keep_connection && !(self.must_end() && self.place.board.header().is_draining());
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
            Outcome::Retire => {
                self.park();
                Next::Leave(0)
            }
            // One that cannot be parked is served on until it can be, or is silent.
            Outcome::Served if self.keep && self.connection.is_open() => {
                if self.must_end() && self.park() {
                    Next::Close
                } else {
                    Next::Keep
                }
            }
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
            return self.await_kept(listener);
        }
        self.connection.fill(Wait::FirstByte)
    }

    /// An error means: this worker is through with the connection.
    fn await_kept(&mut self, listener: &Listener) -> Result<(), Gone> {
        loop {
            self.place.wait(Stage::KeptIdle);
            if self.is_wanted_elsewhere(listener) {
                if self.has_turn() && self.connection.receive_now()? {
                    return Ok(());
                }
                if self.park() {
                    return Err(Gone);
                }
            } else if self.place.board.header().counts.load().accepting() == 0 {
                self.place.leave_watch_to_fork_server();
            }
            match self.connection.receive_kept(SURELY_IDLE)? {
                Heard::Bytes => return Ok(()),
                Heard::Nudge => {}
                Heard::Silence if self.park() => return Err(Gone),
                Heard::Silence => {
                    listener.await_kept(&self.connection, self.place)?;
                    return self.connection.fill(Wait::FirstByte);
                }
            }
        }
    }

    /// The connection was just taken because of a request on it, or has not been served on for so long that others have
    /// to come first.
    fn has_turn(&mut self) -> bool {
        std::mem::take(&mut self.turn.is_new)
            || !self.must_end() && clock::monotonic_us().saturating_sub(self.turn.began) < TURN_US
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

    /// The script goes on after its reply: a kept connection need not wait for it with the next request. What the script
    /// may still read of the body keeps the connection here.
    fn let_connection_go(&mut self) {
        if self.keep && !self.incoming.is_complete() {
            self.incoming.take_end(&mut self.connection);
        }
        if self.incoming.is_complete() {
            self.park();
        }
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
