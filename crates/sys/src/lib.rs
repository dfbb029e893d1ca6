//! One safe function per system call needed
