//! Shared memory: an anonymous file of fixed size, mapped by every process that is given its descriptor.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A zero-filled anonymous file of `size` bytes whose size is sealed: no holder can shrink it under
/// another's mapping. `name` shows in `/proc/PID/maps`. Close-on-exec.
pub fn create(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let file = File::from(fd);
    file.set_len(size as u64)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// A mapping of a whole shared file, readable and writable, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: a mapping is an address range that stays until it is dropped; it gives out a pointer and leaves to
// its user how to read and write other processes' memory (with atomics).
unsafe impl Send for Mapping {}
// SAFETY: as above; no method changes anything.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `fd`, whose size is taken from the file itself.
    pub fn new(fd: impl AsFd) -> io::Result<Mapping> {
        let size = nix::sys::stat::fstat(&fd)?.st_size;
        let length = usize::try_from(size).ok().and_then(NonZeroUsize::new);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "empty shared file"))?;
        // SAFETY: the kernel picks a fresh address range, so no memory of ours changes.
        let start = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &fd, 0)
        }?;
        Ok(Mapping { start: start.cast(), length })
    }

    /// First byte of the mapping; page-aligned.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes.
    pub fn length(&self) -> usize {
        self.length.get()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range came from mmap with this length and is unmapped only here.
        let _ = unsafe { munmap(self.start.cast(), self.length.get()) };
    }
}
