//! POSIX access control lists, written as the extended attribute that Linux keeps them in
//! (`linux/posix_acl_xattr.h`): a version, then entries of tag, permissions and id, sorted by tag and id.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const VERSION: u32 = 2;
const READ_WRITE: u16 = 6;
const NO_ID: u32 = u32::MAX;

/// Users and groups that may read and write a socket besides those its mode names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// User ids.
    pub users: Vec<u32>,
    /// Group ids.
    pub groups: Vec<u32>,
}

/// Replaces the access list of the file, which is no symbolic link, by `acl` on top of `mode`.
pub fn write(path: &Path, mode: u32, acl: &Acl) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let value = encode(mode, acl);
    let name = c"system.posix_acl_access";
    // SAFETY: both strings end in NUL; `value` is readable for its length; lsetxattr keeps none of the pointers.
    match unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same where there may be a list that has to go: mode bits alone are a list as well.
pub fn replace(path: &Path, mode: u32, acl: Option<&Acl>) -> io::Result<()> {
    if let Some(acl) = acl {
        return write(path, mode, acl);
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both strings end in NUL; lremovexattr keeps neither.
    match unsafe { libc::lremovexattr(path.as_ptr(), c"system.posix_acl_access".as_ptr()) } {
        0 => {}
        // There was none, or there can be none.
        _ if matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP)) => {}
        _ => return Err(io::Error::last_os_error()),
    }
    change_mode(&path, mode)
}

/// Of the file itself: with a link in its place nothing is changed.
fn change_mode(path: &CString, mode: u32) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut facts = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills the structure in, and says so by 0.
    let is_link = unsafe { libc::fstat(fd.as_raw_fd(), facts.as_mut_ptr()) } != 0
        || unsafe { facts.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFLNK;
    if is_link {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    // chmod follows this link to the very file that was opened.
    std::fs::set_permissions(
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        std::fs::Permissions::from_mode(mode),
    )
}

fn encode(mode: u32, acl: &Acl) -> Vec<u8> {
    let bits = |shift: u32| (mode >> shift & 7) as u16;
    let named = |tag: u16, ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(move |id| (tag, READ_WRITE, id))
    };
    let mask = bits(3) | READ_WRITE;
    let entries = [(0x01, bits(6), NO_ID)]
        .into_iter()
        .chain(named(0x02, &acl.users))
        .chain([(0x04, bits(3), NO_ID)])
        .chain(named(0x08, &acl.groups))
        .chain([(0x10, mask, NO_ID), (0x20, bits(0), NO_ID)]);
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(u16::to_le_bytes(permissions));
        value.extend(id.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_masked() {
        let value = encode(0o640, &Acl { users: vec![9, 3, 9], groups: vec![7] });
        let entries: Vec<(u8, u8, u32)> = value[4..]
            .chunks(8)
            .map(|entry| (entry[0], entry[2], u32::from_le_bytes(entry[4..].try_into().unwrap())))
            .collect();
        let expected = [
            (1, 6, NO_ID),
            (2, 6, 3),
            (2, 6, 9),
            (4, 4, NO_ID),
            (8, 6, 7),
            (0x10, 6, NO_ID),
            (0x20, 0, NO_ID),
        ];
        assert_eq!(entries, expected);
    }
}
