//! The rights a pool's processes give up once PHP has started: chroot, then the user when start-up ran as
//! root, then the capability that allowed the chroot. No script runs before this.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use board::message::{Identity, PoolSpec};
use nix::unistd::{Gid, Uid, chdir, chroot, setgid, setgroups, setuid};

/// A step that failed, in php-fpm's words.
#[derive(Debug)]
pub(crate) struct Failed {
    step: String,
    source: io::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.source.raw_os_error().unwrap_or(0);
        let text = nix::errno::Errno::from_raw(number).desc();
        write!(out, "{}: {text} ({number})", self.step)
    }
}

/// Takes on everything the pool's configuration asks for.
pub(crate) fn apply(spec: &PoolSpec) -> Result<(), Failed> {
    if let Some(root) = &spec.chroot {
        let step = || format!("failed to chroot({})", String::from_utf8_lossy(root));
        attempt(step, || chroot(OsStr::from_bytes(root)))?;
        if spec.chdir.is_none() {
            attempt(|| "failed to chdir(/)".to_owned(), || chdir("/"))?;
        }
    }
    if let Some(folder) = &spec.chdir {
        let step = || format!("failed to chdir({})", String::from_utf8_lossy(folder));
        attempt(step, || chdir(OsStr::from_bytes(folder)))?;
    }
    if let Some(identity) = &spec.identity {
        become_user(identity)?;
    }
    if !Uid::effective().is_root() {
        drop_capabilities()?;
    }
    set_dumpable(spec.dumpable);
    Ok(())
}

/// Allows or forbids to be traced and to dump core. Changing the user resets it, so it is set both after
/// exec and at the end of `apply`.
pub(crate) fn set_dumpable(dumpable: bool) {
    // SAFETY: PR_SET_DUMPABLE takes 0 or 1.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) };
}

fn become_user(identity: &Identity) -> Result<(), Failed> {
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    attempt(|| format!("failed to setgid({})", identity.gid), || setgid(Gid::from_raw(identity.gid)))?;
    attempt(|| "failed to setgroups".to_owned(), || setgroups(&groups))?;
    attempt(|| format!("failed to setuid({})", identity.uid), || setuid(Uid::from_raw(identity.uid)))?;
    if identity.uid != 0 && setuid(Uid::from_raw(0)).is_ok() {
        return Err(Failed {
            step: "root could be regained".to_owned(),
            source: io::ErrorKind::Other.into(),
        });
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// Leaves no capability, ambient or other.
fn drop_capabilities() -> Result<(), Failed> {
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: clearing the ambient set takes no pointers; kernels without it answer an error, which is fine.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let none = [[0_u32; 3]; 2];
    // SAFETY: version 3 takes this header and two triples of masks; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &header, &none) };
    let step = || "failed to drop capabilities".to_owned();
    attempt(step, || nix::errno::Errno::result(result))
}

fn attempt<T>(step: impl Fn() -> String, action: impl FnOnce() -> nix::Result<T>) -> Result<(), Failed> {
    action().map(drop).map_err(|errno| Failed { step: step(), source: errno.into() })
}
