//! Reading the memory of another process, which goes on running meanwhile.

use std::io::{self, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Appends the bytes at these addresses (and lengths; at most 1024 of them) of a process to `into`, or fails: EFAULT if
/// some of them are not there, EPERM without the right to look (`ptrace`(2), access mode checking), ESRCH if the
/// process is gone.
pub fn read(pid: u32, pieces: &[(u64, usize)], into: &mut Vec<u8>) -> io::Result<()> {
    let (before, wanted) = (into.len(), pieces.iter().map(|piece| piece.1).sum::<usize>());
    let remote: Vec<RemoteIoVec> =
        pieces.iter().map(|(base, len)| RemoteIoVec { base: *base as usize, len: *len }).collect();
    into.resize(before + wanted, 0);
    let mut local = [IoSliceMut::new(&mut into[before..])];
    match process_vm_readv(Pid::from_raw(pid as i32), &mut local, &remote) {
        Ok(length) if length == wanted => Ok(()),
        outcome => {
            into.truncate(before);
            Err(outcome.err().unwrap_or(Errno::EFAULT).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_is_read() {
        let own = std::process::id();
        let (a, b) = ([1u8, 2, 3], *b"text");
        let (a_at, b_at) = (a.as_ptr() as u64, b.as_ptr() as u64);
        let mut into = vec![9];
        read(own, &[(a_at, 3), (b_at + 1, 2)], &mut into).unwrap();
        assert_eq!(into, [9, 1, 2, 3, b'e', b'x']);
        let error = read(own, &[(a_at, 3), (16, 2)], &mut into).unwrap_err();
        assert_eq!((error.raw_os_error(), into.len()), (Some(Errno::EFAULT as i32), 6));
        // Larger than any process id.
        assert!(read(0x7fff_ffff, &[(a_at, 1)], &mut into).is_err());
    }
}
