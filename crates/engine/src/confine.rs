//! The rights a pool's processes give up once PHP has started: chroot, then the user when start-up ran as
//! root, then the capability that allowed the chroot, then what AppArmor takes. No request runs before this; a preloaded script does, with
//! that capability out of effect.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use board::message::{Identity, PoolSpec};
use nix::unistd::{Gid, Uid, chdir, chroot, setgid, setgroups, setuid};
use sys::apparmor::Hat;
use sys::capability;

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

/// Before PHP starts: what a chroot will need is kept, but out of effect and from programs that are started.
pub(crate) fn hold_back() {
    if !Uid::effective().is_root() {
        let _ = capability::hold_back_chroot(); // fails where there is nothing to hold back
    }
}

/// Takes on everything the pool's configuration asks for.
pub(crate) fn apply(spec: &PoolSpec) -> Result<(), Failed> {
    let hat = spec.apparmor_hat.as_deref().map(find_hat).transpose()?;
    if let Some(root) = &spec.chroot {
        let step = || format!("failed to chroot({})", String::from_utf8_lossy(root));
        if !Uid::effective().is_root() {
            let _ = capability::raise_chroot(); // chroot itself says what is missing
        }
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
        let failed = |source| Failed { step: "failed to drop capabilities".to_owned(), source };
        capability::drop_all().map_err(failed)?;
    }
    set_dumpable(spec.dumpable);
    hat.map_or(Ok(()), put_on)
}

/// Allows or forbids to be traced and to dump core. Changing the user resets it, so it is set both after
/// exec and at the end of `apply`.
pub(crate) fn set_dumpable(dumpable: bool) {
    // SAFETY: PR_SET_DUMPABLE takes 0 or 1.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) };
}

fn find_hat(name: &[u8]) -> Result<Hat, Failed> {
    let check = "Please check if \"/proc/*/attr/current\" is read and writeable.";
    let step = format!("failed to query apparmor confinement. {check}");
    Hat::find(name).map_err(|source| Failed { step, source })
}

fn put_on(mut hat: Hat) -> Result<(), Failed> {
    hat.put_on().map_err(|source| {
        let [target, profile] = [&hat.target(), hat.profile()].map(|text| String::from_utf8_lossy(text).into_owned());
        let step = format!(
            "failed to change to new confinement ({target}). Please check if \"/proc/*/attr/current\" is read and \
             writeable and \"change_profile -> {profile}//*\" is allowed."
        );
        Failed { step, source }
    })
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

fn attempt<T>(step: impl Fn() -> String, action: impl FnOnce() -> nix::Result<T>) -> Result<(), Failed> {
    action().map(drop).map_err(|errno| Failed { step: step(), source: errno.into() })
}
