//! Log lines about peers that misbehave: a few at once, then how many more there were. Who may fill the log may hide in it.

use std::time::{Duration, Instant};

/// Lines within one span.
const MOST: u32 = 5;
const SPAN: Duration = Duration::from_secs(10);

/// What has been said lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    since: Option<Instant>,
    said: u32,
    unsaid: u32,
}

impl Complaints {
    /// The line to write for `text`, if one is to be written.
    pub(crate) fn line(&mut self, text: &str, now: Instant) -> Option<String> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SPAN) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said >= MOST {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more such lines were left out)"),
        };
        Some(format!("{text}{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_five_lines_and_a_number() {
        let (now, mut complaints) = (Instant::now(), Complaints::default());
        let said = (0..100).filter(|_| complaints.line("x", now).is_some()).count();
        assert_eq!(said, 5);
        assert_eq!(complaints.line("x", now + SPAN).as_deref(), Some("x (95 more such lines were left out)"));
        assert_eq!(complaints.line("x", now + SPAN).as_deref(), Some("x"));
    }
}
