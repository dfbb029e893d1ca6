//! One safe function per system call that master and engine need: descriptors, sockets, descriptor
//! passing, signals, credentials, shared memory. Unsafe code is fenced in here, one operation a block.
//! This crate decides nothing and logs nothing: it answers `io::Result`.

pub mod channel;
pub mod shm;
