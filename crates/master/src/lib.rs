//! The master: wait, decide, apply
