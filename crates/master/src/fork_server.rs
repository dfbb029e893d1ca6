//! Starting a pool's fork server: the stock PHP executable with the engine preloaded, the pool's rights and limits,
//! and nothing open but what the pool needs.

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use board::message::{TASK_VARIABLE, fds};
use config::{CoreLimit, Diagnostic};
use sys::channel::Channel;
use sys::process::Limit;
use sys::spawn::{self, LIMIT_CORE, LIMIT_FILES, LastSteps, Program, SpawnError, Spawned};

use crate::capture::{self, Capture, Style};
use crate::load::system_error;
use crate::log::errno_text;
use crate::pool::Pool;
use crate::{activation, handover, inheritance, php, reexec, trial};

/// A running fork server.
#[derive(Debug)]
pub(crate) struct ForkServer {
    pub(crate) pid: u32,
    /// How it comes to its executable, until that is known.
    pub(crate) last_steps: Option<LastSteps>,
    /// Closed to make it end.
    pub(crate) channel: Option<Channel>,
    /// What PHP's start-up says besides its reports.
    pub(crate) stderr: Capture,
    /// Collected: its process id may mean another process by now.
    pub(crate) ended: bool,
}

/// The engine as it was when we started: what lies under its name later belongs to a later master, whose messages may be
/// others.
#[derive(Debug)]
pub(crate) struct Engine {
    path: PathBuf,
    file: File,
}

impl Engine {
    pub(crate) fn open(path: PathBuf) -> Result<Engine, Diagnostic> {
        let cannot =
            |source| system_error(format!("the PHP engine {} cannot be opened", path.display()), &source);
        Ok(Engine { file: File::open(&path).map_err(cannot)?, path })
    }
}

/// Room in the title that a worker's own title needs.
const TITLE_LENGTH: usize = 32;

/// Starts the pool's fork server. Sentences in `complaints` are worth an error line each but no obstacle: as with
/// php-fpm a limit that cannot be set stays as it is. An error is one sentence.
pub(crate) fn start(
    pool: &Pool,
    engine: &Engine,
    complaints: &mut Vec<String>,
) -> Result<ForkServer, String> {
    let wanted = u64::try_from(pool.config.rlimit_files).ok().filter(|files| *files > 0).map(Limit::To);
    let (mut files, mut core) = (wanted.or(pool.inherited_files), core_limit(pool.config.rlimit_core));
    loop {
        let error = match attempt(pool, engine, files, core) {
            Ok(server) => return Ok(server),
            Err(error) => error,
        };
        let text = sentence(&error, pool, engine);
        match error.step {
            LIMIT_FILES if files != pool.inherited_files => files = pool.inherited_files,
            LIMIT_CORE if core.is_some() => core = None,
            _ => return Err(text),
        }
        complaints.push(text);
    }
}

fn attempt(
    pool: &Pool,
    engine: &Engine,
    files: Option<Limit>,
    core: Option<Limit>,
) -> Result<ForkServer, SpawnError> {
    let step = |name: &'static str| move |source: io::Error| SpawnError { step: name, source };
    let (ours, theirs) = Channel::pair().map_err(step("socketpair"))?;
    let (reader, writer) = capture::pipe().map_err(step("pipe"))?;
    let spec = spec_file(&pool.spec).map_err(step("memfd_create"))?;
    let mailbox = pool.mailbox.open().map_err(step("socketpair"))?;
    let path = c_string(pool.executable.as_os_str().as_bytes()).map_err(step("path"))?;
    let mut open = vec![
        (theirs.as_fd(), fds::CONTROL),
        (pool.socket.fd.as_fd(), fds::LISTENER),
        (pool.board_fd.as_fd(), fds::BOARD),
        (spec.as_fd(), fds::SPEC),
        (engine.file.as_fd(), fds::ENGINE),
        (mailbox.server.as_fd(), fds::MAIL_SERVER),
        (mailbox.workers.as_fd(), fds::MAIL_WORKERS),
    ];
    open.extend(pool.access_log.as_ref().map(|log| (log.as_fd(), fds::ACCESS_LOG)));
    open.extend(pool.shown_board.as_ref().map(|board| (board.as_fd(), fds::STATUS_BOARD)));
    open.extend(pool.wake.as_ref().map(|wake| (wake.writer(), fds::WAKE)));
    let Spawned { pid, last_steps } = spawn::spawn(&Program {
        path: &path,
        args: &arguments(&pool.config.name).map_err(step("arguments"))?,
        env: &environment(&preloaded(&engine.path), "pool").map_err(step("environment"))?,
        stderr: writer.as_fd(),
        fds: &open,
        files,
        core,
        nice: pool.nice,
        rights: pool.rights.as_ref(),
        reads: Some(fds::ENGINE),
    })?;
    let style = Style { speaker: format!("[pool {}] fork server", pool.name), decorated: true };
    let stderr = Capture::new(style, None, reader);
    Ok(ForkServer { pid, last_steps: Some(last_steps), channel: Some(ours), stderr, ended: false })
}

/// Why the pool's fork server could not be executed.
pub(crate) fn sentence(SpawnError { step, source }: &SpawnError, pool: &Pool, engine: &Engine) -> String {
    let cause = errno_text(source);
    let limit = |name: &str, call: &str, value: i32| {
        let advice = format!("Please check your system limits or decrease {name}");
        format!("failed to set {name} for this pool. {advice}. setrlimit({call}, {value}): {cause}")
    };
    match *step {
        LIMIT_FILES => limit("rlimit_files", "RLIMIT_NOFILE", pool.config.rlimit_files),
        LIMIT_CORE => limit("rlimit_core", "RLIMIT_CORE", core_number(pool.config.rlimit_core)),
        "setpriority" => format!("Unable to set priority for this new process: {cause}"),
        spawn::READS => {
            format!("the pool's user cannot read the PHP engine {}: {cause}", engine.path.display())
        }
        _ => format!("cannot start {}: {step}: {cause}", pool.executable.display()),
    }
}

/// The limit for the C library's call.
pub(crate) fn core_limit(limit: CoreLimit) -> Option<Limit> {
    match limit {
        CoreLimit::Inherited => None,
        CoreLimit::Unlimited => Some(Limit::Unlimited),
        CoreLimit::Bytes(bytes) => Some(Limit::To(u64::try_from(bytes).unwrap_or(0))),
    }
}

/// The limit as php-fpm prints it.
pub(crate) fn core_number(limit: CoreLimit) -> i32 {
    match limit {
        CoreLimit::Inherited => 0,
        CoreLimit::Unlimited => -1,
        CoreLimit::Bytes(bytes) => bytes,
    }
}

/// The title, padded so that a worker's fits in its place, and an empty word: PHP executables give up on it at once,
/// should the engine ever fail to load.
fn arguments(pool: &[u8]) -> io::Result<Vec<CString>> {
    let mut title = [b"php-fpm: fork server ".as_slice(), pool].concat();
    title.resize(title.len().max(TITLE_LENGTH), b' ');
    Ok(vec![c_string(&title)?, CString::default()])
}

/// What the loader is told: the descriptor, which needs no way to the file, where there is a /proc.
fn preloaded(engine: &Path) -> PathBuf {
    let by_descriptor = Path::new("/proc/self/fd");
    if by_descriptor.is_dir() { by_descriptor.join(fds::ENGINE.to_string()) } else { engine.to_path_buf() }
}

/// Our environment with the engine put in, and without what is meant for the master alone.
pub(crate) fn environment(engine: &Path, task: &str) -> io::Result<Vec<CString>> {
    let ours = env::vars_os().filter(|(name, _)| !is_for_the_master(name.as_bytes()));
    let added = [("LD_PRELOAD".into(), php::preload(engine)), (TASK_VARIABLE.into(), task.into())];
    ours.chain(added)
        .map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect()
}

fn is_for_the_master(name: &[u8]) -> bool {
    activation::VARIABLES.iter().any(|known| known.as_bytes() == name)
        || name.starts_with(inheritance::VARIABLE.as_bytes())
        || name.starts_with(b"WATCHDOG_")
        || matches!(name, b"NOTIFY_SOCKET" | b"FDSTORE" | b"LD_PRELOAD")
        || name == reexec::MARK.as_bytes()
        || name == handover::VARIABLE.as_bytes()
        || name == trial::VARIABLE.as_bytes()
        || name == TASK_VARIABLE.as_bytes()
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}

fn spec_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(sys::shm::create(c"cornac-pool", bytes.len())?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_leave_room_for_the_workers() {
        let args = arguments(b"a").unwrap();
        assert_eq!((args[0].as_bytes().len(), args[1].as_bytes()), (32, b"".as_slice()));
        assert!(args[0].to_str().unwrap().starts_with("php-fpm: fork server a "));
        let long = "p".repeat(40);
        assert_eq!(arguments(long.as_bytes()).unwrap()[0].as_bytes().len(), 61);
    }

    #[test]
    fn the_masters_own_variables_stay_behind() {
        for name in [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "LISTEN_PIDFDID",
            "FDSTORE",
            "NOTIFY_SOCKET",
            "FPM_SOCKETS",
            "FPM_SOCKETS_1",
            "WATCHDOG_USEC",
            "CORNAC_RELOAD",
        ] {
            assert!(is_for_the_master(name.as_bytes()), "{name}");
        }
        assert!(!is_for_the_master(b"PATH") && !is_for_the_master(b"LISTEN_PORT"));
        let env = environment(Path::new("/engine.so"), "pool").unwrap();
        let has =
            |start: &str| env.iter().any(|text| text.to_str().is_ok_and(|text| text.starts_with(start)));
        assert!(has("LD_PRELOAD=/engine.so") && has("CORNAC_ENGINE_TASK=pool") && has("PATH="));
    }

    #[test]
    fn the_description_is_read_from_its_start() {
        let mut text = String::new();
        io::Read::read_to_string(&mut File::from(spec_file(b"described").unwrap()), &mut text).unwrap();
        assert_eq!(text, "described");
    }
}
