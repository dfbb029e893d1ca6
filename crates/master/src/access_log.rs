//! Access logs: opened here, with the master's rights; written by the workers, to which the fork server hands them.

use std::fs::File;
use std::os::fd::AsFd;

use board::message::{Order, encode};
use config::{Diagnostic, Level};
use plan::Event;

use crate::load::system_error;
use crate::log::{Log, errno_text};
use crate::log_file;
use crate::supervisor::Supervisor;

/// Opens the pool's access log, if it has one.
pub(crate) fn open(pool: &config::Pool, log: &mut Log) -> Result<Option<File>, Diagnostic> {
    let Some(path) = &pool.access_log else { return Ok(None) };
    let shown = path.display();
    let opened = log_file::open(path)
        .map_err(|source| system_error(format!("failed to open access log ({shown})"), &source))?;
    log.write(Level::Debug, format!("open access log ({shown})"));
    Ok(Some(opened))
}

impl Supervisor {
    /// Opens the logs again under their names, after somebody has moved them away, and has all workers replaced, as
    /// php-fpm does: the old ones finish their requests, and write them to the old files.
    pub(crate) fn reopen_access_logs(&mut self) {
        if self.pools.values().all(|pool| pool.access_log.is_none()) {
            return;
        }
        let opened = self.pools.values_mut().try_for_each(|pool| {
            if let Some(file) = open(&pool.config, &mut self.log)? {
                pool.access_log = Some(file);
            }
            Ok(())
        });
        // Those before one that cannot be opened are new already.
        self.hand_out_access_logs();
        self.feed(Event::AccessLogsReopened);
        match opened {
            Ok(()) => self.log.write(Level::Notice, "access log file re-opened"),
            Err::<(), Diagnostic>(diagnostic) => {
                self.log.diagnose(&diagnostic);
                self.log.write(Level::Error, "unable to re-opened access log file");
            }
        }
    }

    /// Workers forked after this write to the new files.
    fn hand_out_access_logs(&mut self) {
        for pool in self.pools.values() {
            let channel = pool.server.as_ref().and_then(|server| server.channel.as_ref());
            let (Some(file), Some(channel)) = (&pool.access_log, channel) else { continue };
            if let Err(error) = channel.try_send(&encode(&Order::UseAccessLog), &[file.as_fd()]) {
                let cause = errno_text(&error);
                let text = format!("[pool {}] cannot hand the access log on: {cause}", pool.name);
                self.log.write(Level::Error, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_said_in_php_fpms_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut pool = config::Pool::default();
        assert!(open(&pool, &mut Log::default()).unwrap().is_none());
        let path = folder.path().join("access");
        pool.access_log = Some(path.clone());
        assert!(open(&pool, &mut Log::default()).unwrap().is_some() && path.exists());
        pool.access_log = Some(folder.path().join("no/where"));
        let text = String::from_utf8(open(&pool, &mut Log::default()).unwrap_err().text).unwrap();
        assert!(
            text.starts_with("failed to open access log (")
                && text.ends_with("): No such file or directory (2)")
        );
    }
}
