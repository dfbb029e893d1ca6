//! What a worker is doing.

/// What a worker is doing. The names in php-fpm's status page are in `label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// No worker lives in this slot.
    Empty = 0,
    /// Blocked in `accept`.
    Accepting = 1,
    /// Holds a kept connection with no request on it.
    KeptIdle = 2,
    /// Reads a request's parameters.
    ReadingHeaders = 3,
    /// Finds the script, starts the request in PHP.
    GettingInformation = 4,
    /// Runs the script.
    Running = 5,
    /// Shuts the request down in PHP, ends the reply, closes.
    Finishing = 6,
    /// Holds a new connection that has not sent a byte yet.
    Accepted = 7,
}

impl Stage {
    pub(super) fn from_u32(value: u32) -> Stage {
        match value {
            1 => Stage::Accepting,
            2 => Stage::KeptIdle,
            3 => Stage::ReadingHeaders,
            4 => Stage::GettingInformation,
            5 => Stage::Running,
            6 => Stage::Finishing,
            7 => Stage::Accepted,
            _ => Stage::Empty,
        }
    }

    /// Waiting for a request, whether a connection is kept or not.
    pub fn is_idle(self) -> bool {
        matches!(self, Stage::Accepting | Stage::Accepted | Stage::KeptIdle)
    }

    /// Blocked until a signal, a connection or a request comes.
    pub fn is_waiting(self) -> bool {
        matches!(self, Stage::Accepting | Stage::KeptIdle)
    }

    /// Busy with a request.
    pub fn is_active(self) -> bool {
        self != Stage::Empty && !self.is_idle()
    }

    /// php-fpm's word for the stage.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Empty | Stage::Accepting | Stage::Accepted | Stage::KeptIdle => "Idle",
            Stage::ReadingHeaders => "Reading headers",
            Stage::GettingInformation => "Getting request information",
            Stage::Running => "Running",
            Stage::Finishing => "Finishing",
        }
    }
}
