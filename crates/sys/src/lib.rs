//! One safe function per system call that master and engine need: descriptors, sockets, descriptor
//! passing, signals, credentials, shared memory. Unsafe code is fenced in here, one operation a block.
//! This crate decides nothing and logs nothing: it answers `io::Result`.

pub mod acl;
pub mod apparmor;
pub mod capability;
pub mod channel;
pub mod clock;
pub mod closing;
pub mod daemon;
pub mod inherited;
pub mod listener;
pub mod local_time;
pub mod mail;
pub mod memory;
pub mod notify;
pub mod peer;
pub mod process;
pub mod queue;
pub mod shm;
pub mod signals;
pub mod spawn;
pub mod stdio;
pub mod syslog;
pub mod title;
pub mod users;
