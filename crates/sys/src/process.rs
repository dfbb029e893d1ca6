//! Processes from outside: collecting them, signalling them by handle, their limits and priorities.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Collects one child that has ended, or tells of one that a signal has stopped or continued: its process id and raw
/// wait status. `None` when there is none.
pub fn collect() -> Option<(u32, i32)> {
    const FLAGS: i32 = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for one int, which is all waitpid writes to.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, FLAGS) };
        match u32::try_from(pid) {
            Ok(0) => return None,
            Ok(pid) => return Some((pid, status)),
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => return None,
        }
    }
}

/// Waits for the end of one child of ours and collects it.
pub fn wait_for(pid: u32) {
    let child = Pid::from_raw(pid as i32);
    while nix::sys::wait::waitpid(child, None) == Err(Errno::EINTR) {}
}

/// Whether `pid` is a child of this process, alive or not yet collected.
pub fn is_child(pid: u32) -> bool {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::WEXITED;
    pid != 0 && waitid(Id::Pid(Pid::from_raw(pid as i32)), flags).is_ok()
}

/// What the kernel calls this process: at most 15 bytes of the last part of the path it was started by.
pub fn name() -> Vec<u8> {
    // nix's own wrapper hands the kernel memory that it declares constant: optimised, the name is empty.
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, its NUL among them, to the address it is given.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0) };
    name.into_iter().take_while(|byte| *byte != 0).collect()
}

/// Has the kernel call this process, and those it forks from now on, by this name.
pub fn set_name(name: &[u8]) -> io::Result<()> {
    Ok(nix::sys::prctl::set_name(&std::ffi::CString::new(name)?)?)
}

/// Makes this process the one that orphaned descendants are given to.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Has these closed for the last time by a child of ours, for which the kernel does not wait as it might for us: an
/// ending process does not wait until what is left in a socket has been sent (SO_LINGER). The calling process must have
/// one thread.
pub fn close_elsewhere(fds: [OwnedFd; 2]) {
    let Ok((wait, go)) = nix::unistd::pipe() else { return };
    // SAFETY: this process has one thread; the child makes system calls only, and never returns.
    if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
        drop(go);
        let _ = nix::unistd::read(&wait, &mut [0]);
        // SAFETY: _exit runs nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(fds);
    drop(go);
}

/// Sends a signal to a child of ours that has not been collected, so that the number cannot mean another process.
pub fn signal_child(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid as i32, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same to the process group that such a child leads.
pub fn signal_group(leader: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(-(leader as i32), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A handle on a process that stays right when the process is gone and its number is used again.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
}

impl Handle {
    /// A handle on `pid`, provided its parent is `parent`: a number that somebody else told us is not believed.
    pub fn open_child_of(pid: u32, parent: u32) -> io::Result<Handle> {
        // SAFETY: pidfd_open takes two integers and returns a descriptor (close-on-exec) or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us and nobody else knows its number.
        let handle = Handle { fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } };
        match parent_of(pid) {
            Some(found) if found == parent => handle.signal(0).map(|()| handle),
            _ => Err(Errno::ESRCH.into()),
        }
    }

    /// Sends a signal; 0 only asks whether the process is there.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is a pidfd we own; a null siginfo asks for what kill would send.
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The number by which the kernel tells this process from all others, whatever their process ids; `None` where it has
/// none (Linux before 6.9).
pub fn own_pidfd_id() -> Option<u64> {
    const PID_FS_MAGIC: i64 = 0x5049_4446;
    // SAFETY: pidfd_open takes two integers and returns a descriptor (close-on-exec) or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id() as libc::pid_t, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel just made this descriptor for us and nobody else knows its number.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let kind = nix::sys::statfs::fstatfs(&fd).ok()?.filesystem_type();
    if kind.0 as i64 != PID_FS_MAGIC {
        return None;
    }
    Some(nix::sys::stat::fstat(&fd).ok()?.st_ino)
}

/// The real user id of a process, from `/proc`.
pub fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// The parent's process id, from `/proc`.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after its last parenthesis are state and parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A limit to be set; soft and hard alike where one value is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None at all.
    Unlimited,
    /// That much.
    To(u64),
    /// Soft and hard apart.
    Apart(u64, u64),
}

impl Limit {
    fn values(self) -> (u64, u64) {
        match self {
            Limit::Unlimited => (RLIM_INFINITY, RLIM_INFINITY),
            Limit::To(value) => (value, value),
            Limit::Apart(soft, hard) => (soft, hard),
        }
    }
}

/// Sets RLIMIT_NOFILE.
pub fn limit_files(limit: Limit) -> io::Result<()> {
    let (soft, hard) = limit.values();
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

/// Raises the soft RLIMIT_NOFILE of this process to the hard one; returns what it was.
pub fn raise_file_limit() -> io::Result<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    limit_files(Limit::To(hard))?;
    Ok(Limit::Apart(soft, hard))
}

/// Sets RLIMIT_CORE.
pub fn limit_core(limit: Limit) -> io::Result<()> {
    let (soft, hard) = limit.values();
    Ok(setrlimit(Resource::RLIMIT_CORE, soft, hard)?)
}

/// Sets the nice value of this process.
pub fn set_priority(nice: i32) -> io::Result<()> {
    // SAFETY: setpriority takes integers only; `who` 0 is the calling process.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a process, 0 being this one, run only when nobody else wants to, or like others again. The latter takes the right
/// to raise priorities.
pub fn only_when_idle(pid: u32, only: bool) -> io::Result<()> {
    let policy = if only { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are readable for the call; other arguments are integers.
    match unsafe { libc::sched_setscheduler(pid as libc::pid_t, policy, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_is_taken_on_and_known() {
        let shown = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(shown().trim_end().as_bytes(), name());
        set_name(b"php-fpm8.2").unwrap();
        assert_eq!((shown().as_str(), name().as_slice()), ("php-fpm8.2\n", &b"php-fpm8.2"[..]));
    }

    #[test]
    fn only_children_of_the_named_parent_are_handled() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, own) = (child.id(), std::process::id());
        assert!(is_child(pid) && !is_child(own));
        assert!(Handle::open_child_of(pid, own + 1).is_err());
        assert!(Handle::open_child_of(own, own).is_err());
        let handle = Handle::open_child_of(pid, own).unwrap();
        handle.signal(libc::SIGTERM).unwrap();
        child.wait().unwrap();
        assert!(handle.signal(0).is_err() && !is_child(pid));
    }
}
