//! The pid file: written when the start is announced, removed at the end.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use config::Diagnostic;

use crate::load::system_error;

/// A pid file that is there.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes our process id, in place of whatever file had the name.
    pub(crate) fn write(path: PathBuf) -> Result<PidFile, Diagnostic> {
        let _ = fs::remove_file(&path);
        let cannot =
            |source| system_error(format!("Unable to create the PID file ({}).", path.display()), &source);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&path)
            .map_err(cannot)?;
        file.write_all(std::process::id().to_string().as_bytes())
            .map_err(|source| system_error("Unable to write to the PID file.", &source))?;
        Ok(PidFile { path })
    }

    /// The one that names this process already: our image before a reload has written it.
    pub(crate) fn left(path: PathBuf) -> Option<PidFile> {
        let names_us = fs::read_to_string(&path).is_ok_and(|text| text == std::process::id().to_string());
        names_us.then_some(PidFile { path })
    }

    /// Removes it, unless another process has written its own number to it by now.
    pub(crate) fn remove(self) -> Result<(), Diagnostic> {
        if fs::read_to_string(&self.path).is_ok_and(|text| is_another(&text)) {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(|source| {
            system_error(format!("Unable to remove the PID file ({}).", self.path.display()), &source)
        })
    }
}

fn is_another(text: &str) -> bool {
    text.trim().parse().is_ok_and(|pid: u32| pid != std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "99999999999999").unwrap();
        let file = PidFile::write(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        PidFile::left(path.clone()).unwrap().remove().unwrap();
        fs::write(&path, "1").unwrap();
        assert!(PidFile { path: path.clone() }.remove().is_ok() && path.exists());
        fs::write(&path, "").unwrap();
        assert!(PidFile { path: path.clone() }.remove().is_ok() && !path.exists());
        fs::write(&path, "1").unwrap();
        assert!(PidFile::left(path).is_none() && PidFile::left(folder.path().join("other")).is_none());
        let nowhere = folder.path().join("no/pid");
        let text = String::from_utf8(PidFile::write(nowhere.clone()).unwrap_err().text).unwrap();
        let expected =
            format!("Unable to create the PID file ({}).: No such file or directory (2)", nowhere.display());
        assert_eq!(text, expected);
    }
}
