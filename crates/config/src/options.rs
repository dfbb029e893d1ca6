//! What the command line and the build decide before the file is read.

use std::path::PathBuf;

/// Parameters of [`load`](crate::load).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `-p`: the global prefix.
    pub prefix: Option<PathBuf>,
    /// `-g`: the pid file; a `pid` line in the file goes before it.
    pub pid: Option<PathBuf>,
    /// `-D` (true) or `-F` (false), before the file's `daemonize`.
    pub daemonize: Option<bool>,
    /// `-R`: pools may run as root or without a user.
    pub allow_root: bool,
    /// Whether the invoking user is root; then each pool needs a user.
    pub is_root: bool,
    /// A second file with the same sections, read after the main one. A file that does not exist is
    /// no error: whoever was given its name explicitly looks before.
    pub overlay: Option<PathBuf>,
    /// Compile-time PHP prefix.
    pub php_prefix: PathBuf,
    /// Compile-time sysconfdir.
    pub sysconfdir: PathBuf,
    /// Compile-time localstatedir.
    pub localstatedir: PathBuf,
}

impl Options {
    /// The configuration file when none was named: below the prefix of `-p`, else in sysconfdir.
    pub fn default_path(&self) -> PathBuf {
        match &self.prefix {
            Some(prefix) => {
                let mut path = prefix.clone().into_os_string();
                path.push("/etc/php-fpm.conf");
                path.into()
            }
            None => self.sysconfdir.join("php-fpm.conf"),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: None,
            pid: None,
            daemonize: None,
            allow_root: false,
            is_root: false,
            overlay: None,
            php_prefix: "/usr".into(),
            sysconfdir: "/etc".into(),
            localstatedir: "/var".into(),
        }
    }
}
