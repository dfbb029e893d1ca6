//! Exit codes, those of php-fpm.

/// A normal end.
pub const OK: u8 = 0;
/// Unknown option or a word too many.
pub const USAGE: u8 = 64;
/// PHP's start-up failed; or a master in the background ended without a word.
pub const SOFTWARE: u8 = 70;
/// The configuration, or what it asks of this machine, is at fault.
pub const CONFIGURATION: u8 = 78;
