//! Exit codes, those of php-fpm.

/// A normal end.
pub const OK: u8 = 0;
/// What was asked for has been refused; everything is as it was.
pub const REFUSED: u8 = 1;
/// Unknown option or a word too many.
pub const USAGE: u8 = 64;
/// A command did not reach the master, or got no answer in time.
pub const UNAVAILABLE: u8 = 69;
/// PHP's start-up failed; or a master in the background ended without a word.
pub const SOFTWARE: u8 = 70;
/// The configuration, or what it asks of this machine, is at fault.
pub const CONFIGURATION: u8 = 78;

/// All of them with what they mean, for the documentation.
pub const MEANINGS: [(u8, &str); 6] = [
    (OK, "A normal end; a configuration that can be used; in the background, a start that succeeded."),
    (
        REFUSED,
        "A command to the master: it was refused, a line on stderr says why, and everything is as it was.",
    ),
    (USAGE, "An unknown option, or a word too many."),
    (UNAVAILABLE, "A command to the master: nobody was reached, or nobody answered in time."),
    (SOFTWARE, "PHP could not be started, or the master ended before it could say why."),
    (
        CONFIGURATION,
        "The configuration, or what it asks of this machine, is at fault; a line on stderr says what.",
    ),
];
