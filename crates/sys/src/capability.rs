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
    let header = Header { version: VERSION_3, pid: 0 };
    let low = Sets { effective: only, permitted: only, inheritable: only };
    let sets = [low, Sets { effective: 0, permitted: 0, inheritable: 0 }];
    // SAFETY: version 3 reads one header and two sets, laid out as linux/capability.h has them.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (raise, number) = (libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, libc::c_ulong::from(CAP_SYS_CHROOT));
    // SAFETY: this prctl takes integers only.
    match unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0 as libc::c_ulong, 0 as libc::c_ulong) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
