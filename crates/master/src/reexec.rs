//! Execution anew: this process becomes another program, with the same process id and the listening sockets in
//! FPM_SOCKETS. For a program that can take no workers over it comes after all of them are stopped; for one that can,
//! `upgrade` hands them on.

use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use config::{Diagnostic, Level};
use nix::unistd::{AccessFlags, access, execvpe};
use sys::{listener, process};

use crate::inheritance::{Sockets, VARIABLE};
use crate::load::{error, system_error};
use crate::log::printable;
use crate::supervisor::Supervisor;
use crate::upgrade::{Program, running_program};
use crate::{Invocation, activation, exit_code, handover};

/// Tells the next image that it is one: `PID:background|foreground:FD,FD…` with the sockets that are ours.
pub(crate) const MARK: &str = "CORNAC_RELOAD";
/// Words of the command line that the log line shows.
const SHOWN_WORDS: usize = 11;

/// What this process was started as, and is started as again.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The command line, taken before the title was written over it.
    pub(crate) words: Vec<OsString>,
    pub(crate) invocation: Invocation,
    /// After a reload we are where we were: the process id stays.
    pub(crate) background: bool,
    /// The executable, as it was when this process began.
    pub(crate) program: Option<Program>,
}

impl Origin {
    /// To be called before the title is set.
    pub(crate) fn trace(invocation: &Invocation, daemonize: bool, before: Option<&Predecessor>) -> Origin {
        let background = before.map_or(daemonize, |image| image.background);
        Origin {
            words: env::args_os().collect(),
            invocation: invocation.clone(),
            background,
            program: running_program(),
        }
    }
}

/// What the image before a reload left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub(crate) background: bool,
    pub(crate) sockets: Vec<RawFd>,
}

impl Predecessor {
    /// `None` at an ordinary start; a mark of another process, that came down by inheritance, means nothing.
    pub(crate) fn look() -> Option<Predecessor> {
        parse_mark(&env::var(MARK).ok()?, std::process::id())
    }
}

fn parse_mark(text: &str, own: u32) -> Option<Predecessor> {
    let mut parts = text.splitn(3, ':');
    let (pid, place, sockets) = (parts.next()?, parts.next()?, parts.next()?);
    (pid.parse() == Ok(own)).then(|| Predecessor {
        background: place == "background",
        sockets: sockets.split(',').filter_map(|number| number.parse().ok()).collect(),
    })
}

fn mark(own: u32, background: bool, sockets: &Sockets) -> String {
    let place = if background { "background" } else { "foreground" };
    let ours = sockets.descriptors().filter(|(_, ours)| *ours).map(|(fd, _)| fd.as_raw_fd().to_string());
    format!("{own}:{place}:{}", ours.collect::<Vec<_>>().join(","))
}

impl Supervisor {
    /// Becomes its own next image; comes back only if that fails, and then it is the end.
    pub(crate) fn execute_anew(&mut self) {
        self.close_control();
        self.log.write(Level::Debug, "Blocking some signals before reexec");
        self.log.write(Level::Notice, announcement(&self.origin.words));
        let source = self.try_execute(None);
        self.log.diagnose(&system_error("failed to reload: execvp() failed", &source));
        self.sockets.unlink();
        self.end(exit_code::SOFTWARE);
    }

    /// The signals stay blocked: those that come meanwhile wait for the next image.
    pub(crate) fn try_execute(&mut self, more: Option<(&str, String)>) -> io::Error {
        let prepared = || -> io::Result<(Vec<CString>, Vec<CString>)> {
            for (fd, _) in self.sockets.descriptors() {
                listener::keep_on_exec(fd)?;
            }
            Ok((
                c_strings(self.origin.words.iter().map(|word| word.as_bytes().to_vec()))?,
                self.environment(more)?,
            ))
        };
        let (words, environment) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return error,
        };
        if let Some(limit) = self.inherited_files {
            let _ = process::limit_files(limit);
        }
        self.log.restore_stderr();
        let Some(program) = words.first() else { return io::ErrorKind::NotFound.into() };
        match execvpe(program, &words, &environment) {
            Err(errno) => errno.into(),
        }
    }

    fn environment(&self, more: Option<(&str, String)>) -> io::Result<Vec<CString>> {
        let kept = env::vars_os()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .filter(|(name, _)| !name.starts_with(VARIABLE.as_bytes()) && name != MARK.as_bytes())
            .filter(|(name, _)| name != handover::VARIABLE.as_bytes())
            // FPM_SOCKETS names these sockets as well.
            .filter(|(name, _)| !activation::VARIABLES.iter().any(|known| known.as_bytes() == name));
        let sockets = self.sockets.variables().into_iter().map(|(name, value)| (name.into_bytes(), value));
        let mark = mark(std::process::id(), self.origin.background, &self.sockets);
        let more = more.map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes()));
        let all = kept.chain(sockets).chain([(MARK.as_bytes().to_vec(), mark.into_bytes())]).chain(more);
        c_strings(all.map(|(name, value)| [name, value].join(&b'=')))
    }
}

fn c_strings(texts: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    texts.map(|text| Ok(CString::new(text)?)).collect()
}

/// php-fpm's line.
pub(crate) fn announcement(words: &[OsString]) -> Vec<u8> {
    let quoted = |word: &OsString| [b"\"", word.as_bytes(), b"\""].concat();
    let shown = words.iter().take(SHOWN_WORDS).map(quoted).collect::<Vec<_>>().join(&b", "[..]);
    let program = words.first().map(quoted).unwrap_or_default();
    [b"reloading: execvp(".as_slice(), &program, b", {", &shown, b"})"].concat()
}

/// Where exec finds the program that we are.
pub(crate) fn find_program(word: Option<&OsString>) -> Result<PathBuf, Diagnostic> {
    let Some(word) = word else { return Err(error("the command line of this process is not known")) };
    let path = Path::new(word);
    let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let folders = match word.as_bytes().contains(&b'/') {
        true => OsString::new(),
        false => env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
    };
    let found = env::split_paths(&folders).map(|folder| folder.join(path)).find(runs);
    found.ok_or_else(|| {
        let shown = printable(&word.to_string_lossy());
        error(format!("{shown} is not there any more, or cannot be executed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_another_process_means_nothing() {
        let expected = Predecessor { background: true, sockets: vec![3, 17] };
        assert_eq!(parse_mark("5:background:3,17", 5), Some(expected));
        assert_eq!(parse_mark("5:foreground:", 5), Some(Predecessor::default()));
        for text in ["6:background:3", "", "5", "5:background", "x:y:z"] {
            assert_eq!(parse_mark(text, 5), None, "{text}");
        }
        assert_eq!(mark(5, false, &Sockets::default()), "5:foreground:");
    }

    #[test]
    fn eleven_words_are_shown() {
        let words: Vec<OsString> = (0..13).map(|number| number.to_string().into()).collect();
        let text = String::from_utf8(announcement(&words)).unwrap();
        assert!(text.starts_with("reloading: execvp(\"0\", {\"0\", \"1\", ") && text.ends_with(", \"10\"})"));
    }

    #[test]
    fn programs_are_found_as_exec_finds_them() {
        for (word, found) in [("sh", true), ("/bin/sh", true), ("/no/sh", false), ("no-such-program", false)]
        {
            assert_eq!(find_program(Some(&word.into())).is_ok(), found, "{word}");
        }
        assert!(find_program(Some(&"/etc".into())).is_err() && find_program(None).is_err());
    }
}
