//! Sockets that systemd keeps over a restart: given to it when we are ready, and taken from it when nobody needs them any
//! more. A systemd that is busy is asked again; nothing here waits.

use std::io;
use std::time::{Duration, Instant};

use config::Level;

use crate::log::errno_text;
use crate::supervisor::Supervisor;

/// When sockets are offered again to a systemd that was busy.
const STORE_STEP: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Gives it those that are ours, and takes back those that nobody needs any more.
    pub(super) fn store_sockets(&mut self, now: Instant) {
        self.systemd.store_again = None;
        if self.systemd.keeps == 0 {
            return;
        }
        let outcome = self.release_stored().and_then(|()| self.offer_sockets());
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.systemd.store_again = Some(now + STORE_STEP);
            }
            Err(error) => {
                let text = "the listening sockets cannot be given to systemd to keep over a restart";
                self.log.write(Level::Notice, format!("{text}: {}", errno_text(&error)));
            }
        }
    }

    fn release_stored(&mut self) -> io::Result<()> {
        while let Some(name) = self.sockets.first_gone() {
            self.systemd.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"))?;
            self.sockets.forget_gone();
        }
        Ok(())
    }

    fn offer_sockets(&mut self) -> io::Result<()> {
        let room = self.systemd.keeps.saturating_sub(self.sockets.stored());
        let wanted = self.sockets.to_store();
        if wanted.len() > room && !std::mem::replace(&mut self.systemd.store_full_told, true) {
            let (keeps, left) = (self.systemd.keeps, wanted.len() - room);
            let advice = "raise FileDescriptorStoreMax= in the unit";
            let text =
                format!("systemd keeps {keeps} descriptors and {left} socket(s) more are there: {advice}");
            self.log.write(Level::Warning, text);
        }
        let mut kept = Vec::new();
        let mut outcome = Ok(());
        for (place, name, fd) in wanted.into_iter().take(room) {
            outcome = self.systemd.send_with(&format!("FDSTORE=1\nFDNAME={name}"), &[fd]);
            if outcome.is_err() {
                break;
            }
            kept.push(place);
        }
        kept.into_iter().for_each(|place| self.sockets.note_stored(place));
        outcome
    }
}
