//! Capabilities, as far as a chroot pool needs them (capabilities(7), version 3 of capset).

use std::io;

const CAP_SYS_CHROOT: u32 = 18;
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops all capabilities but the one to chroot, and makes that one survive exec of an ordinary program.
pub(crate) fn keep_only_chroot() -> io::Result<()> {
    let only = 1 << CAP_SYS_CHROOT;
    set(Sets { effective: only, permitted: only, inheritable: only })?;
    let (raise, number) = (libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, libc::c_ulong::from(CAP_SYS_CHROOT));
    // SAFETY: this prctl takes integers only.
    match unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0 as libc::c_ulong, 0 as libc::c_ulong) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// After that exec: keeps the right to chroot out of effect, and from programs this one starts.
pub fn hold_back_chroot() -> io::Result<()> {
    clear_ambient();
    set(Sets { effective: 0, permitted: 1 << CAP_SYS_CHROOT, inheritable: 0 })
}

/// Puts the right to chroot into effect.
pub fn raise_chroot() -> io::Result<()> {
    let only = 1 << CAP_SYS_CHROOT;
    set(Sets { effective: only, permitted: only, inheritable: 0 })
}

/// Leaves no capability at all.
pub fn drop_all() -> io::Result<()> {
    clear_ambient();
    set(Sets { effective: 0, permitted: 0, inheritable: 0 })
}

/// Kernels without the ambient set answer with an error; then nothing is in it.
fn clear_ambient() {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    let none: libc::c_ulong = 0;
    // SAFETY: this prctl takes integers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, none, none, none) };
}

fn set(low: Sets) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let sets = [low, Sets { effective: 0, permitted: 0, inheritable: 0 }];
    // SAFETY: version 3 reads one header and two sets, laid out as linux/capability.h has them.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
