//! The fork server of a pool: starts PHP once, then only forks workers, reaps them and reports to the
//! master. Runs no request. Ends when the master closes the channel.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use board::message::{IniEntry, Order, PoolSpec, Report, decode, encode, fds};
use board::scoreboard::Board;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork};
use sys::channel::{Channel, MAX_MESSAGE, Received};

use crate::companion::{self, Companion};
use crate::log::{self, Level};
use crate::parking::{Parking, Reachable};
use crate::sources::Sources;
use crate::task::{EXIT_CONFIG, EXIT_SOFTWARE, c_string, start_php};
use crate::tracing::{self, Reader};
use crate::worker::{self, Mailbox, Place};
use crate::{confine, entry, ini_files, orphan, php, title};

/// Of PHP's start-up, and characters of each.
const MOST_WARNINGS: usize = 16;
const LONGEST_WARNING: usize = 300;

/// Nice value of PHP's shutdown.
const LEAVING: i32 = 10;

/// Why the pool cannot start.
struct Refusal {
    reason: String,
    configuration: bool,
}

/// Everything a fork server holds.
struct ForkServer {
    spec: &'static PoolSpec,
    master: &'static Channel,
    board: &'static Board,
    listener: RawFd,
    /// The scoreboard of the status page, where it is not ours.
    shown: Option<&'static Board>,
    access_log: Option<OwnedFd>,
    /// Tells of children that ended.
    signals: SignalFd,
    children: Vec<Child>,
    reader: Reader,
    sources: Sources,
    /// Kept connections that no worker has time for.
    parking: Parking,
}

/// A worker.
struct Child {
    pid: i32,
    slot: u32,
    companion: Option<Companion>,
}

/// Runs the fork server of the pool whose description the master left; returns the exit code.
pub(crate) fn run() -> i32 {
    let master: &'static Channel = Box::leak(Box::new(Channel::from_fd(inherited(fds::CONTROL))));
    let started = Instant::now();
    match prepare(master) {
        Ok(mut server) => {
            let took_ms = started.elapsed().as_millis() as u32;
            let layout = php::layout();
            let warnings = told_warnings();
            report(master, &Report::Started { php_version: php::version(), took_ms, layout, warnings });
            server.serve();
            server.parking.end();
            end_php();
            0
        }
        Err(refusal) => {
            let Refusal { reason, configuration } = refusal;
            report(master, &Report::Refused { reason, configuration });
            if configuration { EXIT_CONFIG } else { EXIT_SOFTWARE }
        }
    }
}

/// Everything up to the point where workers may be forked.
fn prepare(master: &'static Channel) -> Result<ForkServer, Refusal> {
    let unusable = |reason: String| Refusal { reason, configuration: true };
    let spec: &'static PoolSpec =
        Box::leak(Box::new(read_spec().map_err(|error| unusable(error.to_string()))?));
    log::to_master(master, spec.log_level, spec.log_limit as usize);
    orphan::die_with_master(spec.master_pid as i32);
    // What `ps -C`, `pidof` and process exporters look at. Nothing depends on it.
    let _ = sys::process::set_name(&spec.process_name);
    confine::hold_back();
    confine::set_dumpable(spec.dumpable);
    drop(inherited(fds::ENGINE));
    let board = Board::open(inherited(fds::BOARD)).map_err(|error| unusable(error.to_string()))?;
    let shown = spec.shows_other_board.then(|| Board::open(inherited(fds::STATUS_BOARD))).transpose();
    let shown = shown.map_err(|error| unusable(error.to_string()))?;
    let access_log = spec.access_log.as_ref().map(|_| inherited(fds::ACCESS_LOG));
    let listener = inherited(fds::LISTENER);
    let mailbox = [fds::MAIL_SERVER, fds::MAIL_WORKERS].map(inherited);
    if spec.wakes {
        // Stays open under its number, for the workers.
        std::mem::forget(inherited(fds::WAKE));
    }
    if let Some(problem) = php::host_problem() {
        let host = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        return Err(unusable(format!("{} cannot host this pool: {problem}", host.display())));
    }
    refuse_unreadable_ini(spec)?;
    if spec.ini.iter().any(is_extension) {
        // As in php-fpm, where the worker loads them: they see the pool's variables.
        set_variables(spec, |name| !DECIDE_ON_START.contains(&name));
    }
    start_php(&spec.php, startup_of(spec))
        .map_err(|_| Refusal { reason: "PHP could not be started".to_owned(), configuration: false })?;
    if !ini_files::host_is_fpm() {
        // Debian's php and php-cgi have pcntl built in, php-fpm has not: a worker that forks would answer twice.
        php::disable_module_functions(c"pcntl");
    }
    let sources = Sources::note(&php::sources());
    confine::apply(spec).map_err(|failed| unusable(failed.to_string()))?;
    // A change of user takes the parent-death signal away.
    orphan::die_with_master(spec.master_pid as i32);
    apply_ini(&spec.ini);
    set_environment(spec);
    let board: &'static Board = Box::leak(Box::new(board));
    let listener = listener.into_raw_fd();
    let [server, workers] = mailbox;
    let parking = Parking::new(server, workers, listener, board);
    Ok(ForkServer {
        spec,
        master,
        board,
        listener,
        parking: parking.map_err(|errno| unusable(errno.to_string()))?,
        shown: shown.map(|board| &*Box::leak(Box::new(board))),
        access_log,
        signals: watch_children().map_err(|errno| unusable(errno.to_string()))?,
        children: Vec::new(),
        reader: Reader::default(),
        sources,
    })
}

/// A descriptor the master left at a known number, from now on close-on-exec.
fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the master put a descriptor there for us alone, and each number is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    fd
}

fn watch_children() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn read_spec() -> std::io::Result<PoolSpec> {
    let mut bytes = Vec::new();
    File::from(inherited(fds::SPEC)).read_to_end(&mut bytes)?;
    decode(&bytes).map_err(std::io::Error::other)
}

/// PHP would start without a php.ini it cannot read, and nobody would notice.
fn refuse_unreadable_ini(spec: &PoolSpec) -> Result<(), Refusal> {
    let Some(path) = ini_files::unreadable(&spec.php) else { return Ok(()) };
    let reason = format!(
        "{} cannot be read by the pool's user; make it readable for that user, or set php.startup_user = root \
         in the pool",
        path.display()
    );
    Err(Refusal { reason, configuration: true })
}

/// The pool's settings that PHP must know while it starts: system settings such as opcache's, and
/// extensions. Functions and classes to disable come later, since here they would replace php.ini's list.
fn startup_of(spec: &PoolSpec) -> php::Startup {
    let mut lines = Vec::new();
    for entry in spec.ini.iter().filter(|entry| is_extension(entry) || (entry.admin && !is_disabling(entry)))
    {
        lines.extend_from_slice(&entry.name);
        lines.push(b'=');
        append_quoted(&mut lines, &entry.value);
        lines.push(b'\n');
    }
    php::Startup { pool_ini: (!lines.is_empty()).then(|| c_string(&lines)), ..Default::default() }
}

/// In single quotes nothing has a meaning; a value that holds one goes into double quotes.
fn append_quoted(lines: &mut Vec<u8>, value: &[u8]) {
    if !value.is_empty() && !value.contains(&b'\'') {
        lines.push(b'\'');
        lines.extend_from_slice(value);
        lines.push(b'\'');
        return;
    }
    lines.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            lines.push(b'\\');
        }
        lines.push(*byte);
    }
    lines.push(b'"');
}

fn is_extension(entry: &IniEntry) -> bool {
    matches!(entry.name.as_slice(), b"extension" | b"zend_extension")
}

fn is_disabling(entry: &IniEntry) -> bool {
    matches!(entry.name.as_slice(), b"disable_functions" | b"disable_classes")
}

/// php_value lines first, then php_admin_value lines, each from the last one of the file to the first: of
/// two lines for one setting the first wins, as with php-fpm.
fn apply_ini(entries: &[IniEntry]) {
    for admin in [false, true] {
        for entry in entries.iter().rev().filter(|entry| entry.admin == admin && !is_extension(entry)) {
            if !php::set_ini(&c_string(&entry.name), &c_string(&entry.value), admin) {
                let kind = if admin { "php_admin_value" } else { "php_value" };
                let name = String::from_utf8_lossy(&entry.name);
                log::write(Level::Error, format!("Unable to set {kind} '{name}'").as_bytes());
            }
        }
    }
}

/// PHP has started with the master's whole environment; scripts get what the pool says.
fn set_environment(spec: &PoolSpec) {
    if spec.clear_env {
        // SAFETY: one thread, and nobody holds pointers into the environment.
        unsafe { libc::clearenv() };
        title::wipe_environment();
    }
    set_variables(spec, |_| true);
    // The master's time zone goes with its environment, as with php-fpm.
    sys::local_time::read_zone();
}

/// Variables that PHP itself reads while it starts: those of the master count then, not the pool's.
const DECIDE_ON_START: [&[u8]; 5] =
    [b"PHPRC", b"PHP_INI_SCAN_DIR", b"USE_ZEND_ALLOC", b"USE_TRACKED_ALLOC", b"USE_ZEND_ALLOC_HUGE_PAGES"];

/// The pool's `env[…]`.
fn set_variables(spec: &PoolSpec, wanted: impl Fn(&[u8]) -> bool) {
    for (name, value) in spec.env.iter().filter(|(name, _)| wanted(name)) {
        if !name.is_empty() && !name.iter().any(|byte| matches!(byte, b'=' | 0)) && !value.contains(&0) {
            entry::set_variable(OsStr::from_bytes(name), OsString::from_vec(value.clone()));
        }
    }
}

/// Extensions write out what they hold; one that hangs there must not keep the process alive.
fn end_php() {
    // Others serve meanwhile.
    let _ = sys::process::set_priority(LEAVING);
    // SAFETY: SIGALRM's default action ends the process.
    unsafe { libc::alarm(5) };
    php::shut_down();
}

/// As much of PHP's warnings as fits into a report.
fn told_warnings() -> Vec<String> {
    let short = |text: String| text.chars().take(LONGEST_WARNING).collect();
    php::startup_warnings().into_iter().take(MOST_WARNINGS).map(short).collect()
}

/// Rounded up, so that the wait does not end too early.
fn timeout_until(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}

fn report(master: &Channel, report: &Report) {
    // A master that is gone needs no report: the closed channel ends us.
    let _ = master.send(&encode(report), &[]);
}

impl ForkServer {
    /// Until the master closes the channel.
    fn serve(&mut self) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let mut wanted = [
                PollFd::new(self.master.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.parking.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut wanted, timeout_until(self.parking.deadline()));
            let [orders, children, parking] = wanted.map(|fd| fd.any().unwrap_or(false));
            if children {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            if orders && !self.obey(&mut buffer) {
                return;
            }
            if parking || self.parking.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
                self.look_after_parked();
            }
        }
    }

    fn look_after_parked(&mut self) {
        let slots = self.board.slots();
        let reachable = |child: &Child| Reachable { pid: child.pid, slot: &slots[child.slot as usize] };
        let workers: Vec<Reachable<'_>> = self.children.iter().map(reachable).collect();
        // Of a pool that always has as many workers the master need not know.
        if self.parking.turn(&workers) && self.spec.wakes {
            report(self.master, &Report::Waiting);
        }
    }

    /// Carries out one order. False once the master is gone.
    fn obey(&mut self, buffer: &mut [u8]) -> bool {
        match self.master.try_receive_fds(buffer) {
            Ok(Received::Message(length, fds)) => {
                match decode(&buffer[..length]) {
                    Ok(Order::Fork { slot }) => self.fork(slot, fds),
                    Ok(Order::UseAccessLog) => {
                        self.access_log = fds.into_iter().next().or(self.access_log.take())
                    }
                    Ok(Order::CheckSources) => {
                        report(self.master, &Report::Sources { changed: self.sources.have_changed() });
                    }
                    Ok(Order::Retire) => self.parking.retire(),
                    Ok(Order::Drain) => self.parking.drain(),
                    Ok(Order::PrepareTraces) => self.reader = tracing::choose(),
                    Ok(Order::Trace { slot, pid, request, depth }) => self.trace(slot, pid, request, depth),
                    Err(_) => {}
                }
                true
            }
            Ok(Received::Closed) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected),
        }
    }

    fn fork(&mut self, slot: u32, output: Vec<OwnedFd>) {
        if slot as usize >= self.board.slots().len() {
            return;
        }
        self.parking.begin();
        let parent = nix::unistd::getpid().as_raw();
        // Without a companion a worker is no worse: only its backtraces fail.
        let companion = (self.reader == Reader::Companion).then(companion::pair).and_then(Result::ok);
        let (ours, theirs) = companion.unzip();
        // SAFETY: this process has one thread; the child goes on in `become_worker`, which never returns.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                self.children.push(Child { pid: child.as_raw(), slot, companion: ours });
                report(self.master, &Report::Forked { slot, pid: child.as_raw() as u32 });
            }
            Ok(ForkResult::Child) => {
                drop(ours);
                self.become_worker(slot, parent, output, theirs)
            }
            Err(errno) => report(self.master, &Report::ForkFailed { slot, errno: errno as i32 }),
        };
    }

    fn become_worker(&self, slot: u32, parent: i32, output: Vec<OwnedFd>, companion: Option<OwnedFd>) -> ! {
        orphan::watch(self.spec.master_pid as i32, parent);
        let of_others = self.children.iter().filter_map(|child| child.companion.as_ref());
        let of_others = of_others.map(Companion::raw_fd);
        for fd in of_others.chain([self.master.as_fd().as_raw_fd(), self.signals.as_raw_fd()]) {
            // SAFETY: the descriptor is the fork server's and never used in this process, which never
            // returns to where its owner would close it.
            unsafe { libc::close(fd) };
        }
        self.parking.leave_to_worker();
        log::to_stderr();
        if let Some(Err(error)) = companion.map(companion::start) {
            log::write(Level::Warning, format!("no backtraces of this worker: {error}").as_bytes());
        }
        let place = Place {
            spec: self.spec,
            slot: &self.board.slots()[slot as usize],
            board: self.board,
            shown: self.shown.unwrap_or(self.board),
            listener: self.listener,
            mailbox: Mailbox(self.parking.workers_end()),
        };
        worker::live(place, self.access_log.as_ref().map(AsRawFd::as_raw_fd), output)
    }

    fn trace(&self, slot: u32, pid: u32, request: u64, depth: u32) {
        let child = self.children.iter().find(|child| child.slot == slot && child.pid == pid as i32);
        let outcome = match child {
            Some(child) => {
                let place = &self.board.slots()[slot as usize];
                tracing::take(self.reader, pid, child.companion.as_ref(), place, request, depth)
            }
            // The worker of a fork server before us.
            None => Err(nix::errno::Errno::EPERM.into()),
        };
        tracing::reports(slot, pid, outcome).iter().for_each(|part| report(self.master, part));
    }

    fn reap(&mut self) {
        const FLAGS: i32 = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
        loop {
            let mut status = 0;
            // SAFETY: `status` is a place for the wait status.
            let pid = unsafe { libc::waitpid(-1, &mut status, FLAGS) };
            if pid <= 0 {
                return;
            }
            let has_ended = !libc::WIFSTOPPED(status) && !libc::WIFCONTINUED(status);
            let Some(index) = self.children.iter().position(|child| child.pid == pid) else {
                if has_ended {
                    report(self.master, &Report::StrangerExited { pid: pid as u32, status });
                }
                continue;
            };
            let slot = self.children[index].slot;
            if !has_ended {
                report(self.master, &Report::Exited { slot, pid: pid as u32, status });
                continue;
            }
            self.children.swap_remove(index);
            let place = &self.board.slots()[slot as usize];
            // The master wants to know what it was at, and vacates the slot then.
            if !place.stage().is_active() {
                self.board.vacate(place);
            }
            self.board.recount();
            report(self.master, &Report::Exited { slot, pid: pid as u32, status });
        }
    }
}
