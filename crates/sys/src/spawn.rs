//! Fork and exec of a program with its own rights, limits and descriptors. The steps are a list with names; the one
//! that fails is reported to the parent, with its error, through a pipe that a successful exec closes.
//!
//! The parent waits for the child as long as that has the parent's rights. From then on whoever has the child's may stop
//! it, so how the rest went is told later.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::{ForkResult, Gid, Uid, execve, fork, pipe2, setgroups, setresgid, setresuid, setuid};

use crate::process::{Limit, limit_core, limit_files, set_priority};
use crate::{capability, signals};

/// What to execute, and as what.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable.
    pub path: &'a CStr,
    /// All arguments, the zeroth too.
    pub args: &'a [CString],
    /// The whole environment, `NAME=value`.
    pub env: &'a [CString],
    /// Becomes descriptor 2; 0 and 1 are /dev/null.
    pub stderr: BorrowedFd<'a>,
    /// Descriptors and the numbers (3 to 12) they get; no others are open after exec.
    pub fds: &'a [(BorrowedFd<'a>, RawFd)],
    /// RLIMIT_NOFILE, unless inherited.
    pub files: Option<Limit>,
    /// RLIMIT_CORE, unless inherited.
    pub core: Option<Limit>,
    /// Nice value, unless inherited.
    pub nice: Option<i32>,
    /// Rights, unless ours.
    pub rights: Option<&'a Rights>,
    /// The number of one of `fds`, a file that must be readable with those rights; looked at before exec.
    pub reads: Option<RawFd>,
}

/// Rights for a program that root starts for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
    /// Keep the right to chroot (as an ambient capability) although the user is not root.
    pub keep_chroot: bool,
}

/// Why a program could not be executed.
#[derive(Debug)]
pub struct SpawnError {
    /// Name of the step, a system call or what it is for.
    pub step: &'static str,
    /// Its error.
    pub source: io::Error,
}

/// A child on its way to the program.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: u32,
    /// How its last steps go.
    pub last_steps: LastSteps,
}

/// The steps that are taken with the program's own rights. Readable once there is an outcome.
#[derive(Debug)]
pub struct LastSteps(File);

impl LastSteps {
    /// `None` while the child is on its way. Success is also told of one that was killed on it. To be asked until it
    /// has told once.
    pub fn outcome(&mut self) -> Option<Result<(), SpawnError>> {
        let mut report = [0; REPORT];
        match self.0.read(&mut report) {
            Ok(0) => Some(Ok(())),
            Ok(_) => Some(Err(failure(report))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(source) => Some(Err(SpawnError { step: "pipe", source })),
        }
    }
}

impl AsFd for LastSteps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

type Step = (&'static str, fn(&Program<'_>) -> io::Result<()>);

/// Name of the step that sets RLIMIT_NOFILE.
pub const LIMIT_FILES: &str = "setrlimit(RLIMIT_NOFILE)";

/// Name of the step that sets RLIMIT_CORE.
pub const LIMIT_CORE: &str = "setrlimit(RLIMIT_CORE)";

/// Name of the step that looks whether `reads` is readable.
pub const READS: &str = "faccessat2";

/// Where the program's rights are taken on.
const RIGHTS: &str = "rights";

/// In this order: placing the descriptors takes high numbers, which the limit would forbid; limits and priority need
/// root; rights go last.
const STEPS: [Step; 8] = [
    ("descriptors", place_descriptors),
    (LIMIT_FILES, |program| program.files.map_or(Ok(()), limit_files)),
    (LIMIT_CORE, |program| program.core.map_or(Ok(()), limit_core)),
    ("setpriority", |program| program.nice.map_or(Ok(()), set_priority)),
    ("signals", |_| signals::reset_all()),
    (RIGHTS, |program| program.rights.map_or(Ok(()), take_rights)),
    (READS, |program| program.reads.map_or(Ok(()), check_readable)),
    ("execve", |program| match execve(program.path, program.args, program.env)? {}),
];

/// First number above all that a program may be given.
const ABOVE_TARGETS: RawFd = 13;

/// What the child writes: the index of the step that failed, and its error.
const REPORT: usize = 5;
/// In place of an index: only the last steps are left.
const NEARLY: u8 = u8::MAX;

/// Starts the program; fails for a step that is taken with our rights. The calling process must have one thread.
pub fn spawn(program: &Program<'_>) -> Result<Spawned, SpawnError> {
    let failed = |step, errno: Errno| SpawnError { step, source: errno.into() };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("pipe", errno))?;
    // SAFETY: this process has one thread, so the child may use everything the parent could; it never returns.
    match unsafe { fork() }.map_err(|errno| failed("fork", errno))? {
        ForkResult::Child => child(program, writer),
        ForkResult::Parent { child } => {
            drop(writer);
            first_steps(reader)
                .map(|last_steps| Spawned { pid: child.as_raw() as u32, last_steps })
                .inspect_err(|_| {
                    let _ = nix::sys::wait::waitpid(child, None);
                })
        }
    }
}

/// Waits for the end of the steps that the child takes with our rights.
fn first_steps(reader: OwnedFd) -> Result<LastSteps, SpawnError> {
    let lost = |source| SpawnError { step: "pipe", source };
    let (mut reader, mut report) = (File::from(reader), [NEARLY; REPORT]);
    reader.read_exact(&mut report[..1]).map_err(lost)?;
    if report[0] != NEARLY {
        reader.read_exact(&mut report[1..]).map_err(lost)?;
        return Err(failure(report));
    }
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| lost(errno.into()))?;
    Ok(LastSteps(reader))
}

fn failure([step, errno @ ..]: [u8; REPORT]) -> SpawnError {
    let step = STEPS.get(usize::from(step)).map_or("?", |step| step.0);
    SpawnError { step, source: io::Error::from_raw_os_error(i32::from_ne_bytes(errno)) }
}

fn child(program: &Program<'_>, report: OwnedFd) -> ! {
    // A copy above the targets, so that placing them cannot overwrite it.
    let mut report = above_targets(report.as_fd()).map_or(File::from(report), File::from);
    for (index, (name, step)) in (0u8..).zip(STEPS) {
        if name == RIGHTS {
            let _ = report.write_all(&[NEARLY]);
        }
        if let Err(error) = step(program) {
            let errno = error.raw_os_error().unwrap_or(0);
            let _ = report.write_all(&[&[index][..], &errno.to_ne_bytes()].concat());
            break;
        }
    }
    // SAFETY: _exit ends this process without running anything of the parent's that the fork copied.
    unsafe { libc::_exit(127) }
}

fn above_targets(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE_TARGETS))?;
    // SAFETY: fcntl just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Puts the descriptors at their numbers and makes all others close-on-exec, inherited ones included.
fn place_descriptors(program: &Program<'_>) -> io::Result<()> {
    close_all_on_exec()?;
    // Above the targets, too: its own number must not be one of them when it is closed.
    let null = above_targets(File::options().read(true).write(true).open("/dev/null")?.as_fd())?;
    let standard = [(null.as_fd(), 0), (null.as_fd(), 1), (program.stderr, 2)];
    let wanted = standard.iter().chain(program.fds);
    let copies =
        wanted.map(|(fd, target)| Ok((above_targets(*fd)?, *target))).collect::<io::Result<Vec<_>>>()?;
    for (copy, target) in &copies {
        // SAFETY: dup2 takes integers only; whatever had the target's number in this child is not used again.
        if unsafe { libc::dup2(copy.as_raw_fd(), *target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: close_range with this flag takes integers and only marks descriptors.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    // Kernels before 5.11: one by one.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()).unwrap_or(0);
        if number > 2 {
            // SAFETY: the number is open in this process for as long as this statement runs.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
    Ok(())
}

/// Whether the file could be opened for reading with the rights this process has by now. Its path does not matter.
fn check_readable(fd: RawFd) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: faccessat2 reads an empty C string; the number is one of the placed descriptors.
    let result = unsafe { libc::syscall(libc::SYS_faccessat2, fd, c"".as_ptr(), libc::R_OK, flags) };
    match Errno::result(result) {
        // Kernels before 5.8: the loader will tell.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Groups before user, and afterwards a look whether root could come back.
fn take_rights(rights: &Rights) -> io::Result<()> {
    let groups: Vec<Gid> = rights.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(rights.uid), Gid::from_raw(rights.gid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    if rights.keep_chroot {
        nix::sys::prctl::set_keepcaps(true)?;
    }
    setresuid(uid, uid, uid)?;
    if uid.is_root() {
        return Ok(());
    }
    if rights.keep_chroot {
        capability::keep_only_chroot()?;
    }
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<CString> {
        texts.iter().map(|text| CString::new(*text).unwrap()).collect()
    }

    fn program<'a>(
        args: &'a [CString],
        stderr: BorrowedFd<'a>,
        fds: &'a [(BorrowedFd<'a>, RawFd)],
    ) -> Program<'a> {
        let (path, env) = (c"/bin/sh", &[]);
        Program {
            path,
            args,
            env,
            stderr,
            fds,
            files: None,
            core: None,
            nice: None,
            rights: None,
            reads: None,
        }
    }

    fn end_of(spawned: &mut Spawned) -> Result<(), SpawnError> {
        loop {
            match spawned.last_steps.outcome() {
                Some(outcome) => return outcome,
                None => std::thread::yield_now(),
            }
        }
    }

    fn started(program: &Program<'_>) -> u32 {
        let mut spawned = spawn(program).unwrap();
        end_of(&mut spawned).unwrap();
        spawned.pid
    }

    /// Runs a shell script whose output is what it writes to descriptor 5.
    fn output(script: &str, rights: Option<&Rights>) -> String {
        let (mut reader, writer) = io::pipe().unwrap();
        let fds = [(writer.as_fd(), 5)];
        let args = strings(&["title", "-c", script]);
        let program = Program { rights, ..program(&args, writer.as_fd(), &fds) };
        let pid = started(&program);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid as i32), None);
        text
    }

    #[test]
    fn only_the_given_descriptors_are_open() {
        let (_inherited, leak) = nix::unistd::pipe().unwrap();
        let script = "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo -n $n >&5; done";
        assert_eq!(output(script, None), "0125", "{leak:?} must not be among them");
    }

    /// The first free numbers of a master may be those of its child's descriptors.
    #[test]
    fn low_numbers_may_be_free() {
        for _ in 0..50 {
            let free: Vec<_> = (0..8).map(|_| io::pipe().unwrap()).collect();
            drop(free);
            assert_eq!(output("echo -n here >&5", None), "here");
        }
    }

    /// Copies are closed once they are placed: none may have the number of a descriptor that was meant to stay.
    #[test]
    fn every_number_can_be_given() {
        for _ in 0..50 {
            let (mut reader, writer) = io::pipe().unwrap();
            let fds: Vec<_> = (3..ABOVE_TARGETS).map(|number| (writer.as_fd(), number)).collect();
            let script =
                "for n in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$n ] && echo -n \"$n \" >&5; done";
            let args = strings(&["title", "-c", script]);
            let pid = started(&program(&args, writer.as_fd(), &fds));
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid as i32), None);
            assert_eq!(text, "3 4 5 6 7 8 9 10 11 12 ");
        }
    }

    #[test]
    fn a_limit_below_our_own_descriptors_is_no_obstacle() {
        let many: Vec<_> = (0..40).map(|_| io::pipe().unwrap()).collect();
        let (mut reader, writer) = io::pipe().unwrap();
        let fds = [(writer.as_fd(), 5)];
        let args = strings(&["title", "-c", "ulimit -n >&5"]);
        let program = Program { files: Some(Limit::To(20)), ..program(&args, writer.as_fd(), &fds) };
        let pid = started(&program);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid as i32), None);
        assert_eq!((text.trim(), many.len()), ("20", 40));
    }

    #[test]
    fn a_failing_step_is_named() {
        let args = strings(&["x"]);
        let stderr = io::stderr();
        let missing = Program { path: c"/no/such/program", ..program(&args, stderr.as_fd(), &[]) };
        let mut spawned = spawn(&missing).unwrap();
        let error = end_of(&mut spawned).unwrap_err();
        crate::process::wait_for(spawned.pid);
        assert_eq!((error.step, error.source.raw_os_error()), ("execve", Some(libc::ENOENT)));
    }

    #[test]
    fn rights_are_taken_and_only_chroot_is_kept() {
        if !Uid::effective().is_root() {
            return;
        }
        let script = "grep -E '^(Uid|Gid|Groups|CapEff|CapAmb):' /proc/$$/status | tr -s ' \\t\\n' ' ' >&5";
        let rights = |keep_chroot| Rights { uid: 65534, gid: 65533, groups: vec![65533, 77], keep_chroot };
        let ids = "Uid: 65534 65534 65534 65534 Gid: 65533 65533 65533 65533 Groups: 77 65533";
        assert_eq!(
            output(script, Some(&rights(false))),
            format!("{ids} CapEff: {0} CapAmb: {0} ", "0".repeat(16))
        );
        let chroot = format!("{:016x}", 1 << 18);
        assert_eq!(output(script, Some(&rights(true))), format!("{ids} CapEff: {chroot} CapAmb: {chroot} "));
    }
}
