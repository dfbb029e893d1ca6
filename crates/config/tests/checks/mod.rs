//! What holds for every configuration, whatever its bytes are: judged by the tests and by the fuzz target.

use std::io;
use std::path::{Path, PathBuf};

use config::{GlobError, Host, Listen, Options};

/// What ends the main file and begins the next one, included as `/a`, `/b` ….
const SEPARATOR: &[u8] = b"\n;;;;\n";

/// Files in memory, one variable, one folder.
struct Machine {
    files: Vec<Vec<u8>>,
}

impl Machine {
    fn new(data: &[u8]) -> Machine {
        let mut files = Vec::new();
        let mut rest = data;
        while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
            files.push(rest[..at].to_vec());
            rest = &rest[at + SEPARATOR.len()..];
        }
        files.push(rest.to_vec());
        Machine { files }
    }

    /// `/` is the main file, `/a` the next.
    fn index(path: &[u8]) -> Option<usize> {
        match path {
            b"/main" => Some(0),
            [b'/', letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a') + 1),
            _ => None,
        }
    }
}

impl Host for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let file = Self::index(path.as_os_str().as_bytes()).and_then(|index| self.files.get(index));
        file.cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
        match pattern {
            b"/*" => Ok((1..self.files.len().min(3))
                .map(|n| format!("/{}", (b'`' + n as u8) as char).into())
                .collect()),
            b"/locked/*" => Err(GlobError::Aborted),
            _ => match Self::index(pattern).filter(|index| *index < self.files.len()) {
                Some(_) => Ok(vec![String::from_utf8_lossy(pattern).into_owned().into()]),
                None => Err(GlobError::NoMatch),
            },
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.starts_with("/srv")
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        (name == b"HOME").then(|| b"/srv/home".to_vec())
    }
}

/// The reader ends, says something when it refuses, says the same every time, and what it accepts can be shown.
pub(crate) fn configuration(data: &[u8]) {
    let machine = Machine::new(data);
    let options = Options { is_root: data.len().is_multiple_of(2), ..Options::default() };
    let loaded = config::load(Path::new("/main"), &options, &machine);
    let last = loaded.diagnostics.last().map(|diagnostic| diagnostic.text.as_slice());
    let failed = last == Some(b"FPM initialization failed");
    assert_eq!(loaded.config, config::load(Path::new("/main"), &options, &machine).config);
    let Some(config) = loaded.config else {
        assert!(failed || loaded.diagnostics.is_empty(), "refused without a word: {:?}", loaded.diagnostics);
        return;
    };
    assert!(!config.pools.is_empty() && !failed);
    for pool in &config.pools {
        assert!(pool.pm_max_children >= 1 && !pool.listen.is_empty());
        let _ = Listen::parse(&pool.listen);
        let _ = (pool.socket_mode(), pool.extensions().count());
    }
    // Pools that stand in no file are not shown.
    let shown = config.pools.iter().filter(|pool| pool.status_of.is_none()).count();
    assert!(config::dump(&config).len() >= 18 + 40 * shown);
}

/// `-d` never fails, and gives back a value only for the name asked for.
pub(crate) fn defines(data: &[u8]) {
    let defines: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let machine = Machine::new(b"");
    if config::defined(&defines, b"a", &machine).is_some() {
        assert!(data.contains(&b'a'));
    }
}
