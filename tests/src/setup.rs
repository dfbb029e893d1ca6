//! What a server is started with: configuration, scripts, command line, environment. A description only; the same one
//! is written into the folder of either side. In every text `{dir}` stands for that folder, `{user}` and `{group}` for
//! the pool's user, `{port}` and `{port2}` for free TCP ports.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::binary::is_root;
use crate::site::POOL_USER;

/// A description of one server; [`crate::Server::start`] makes it real.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub(crate) global: String,
    pub(crate) pools: Vec<(String, String)>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) bare: bool,
    pub(crate) daemon: bool,
    pub(crate) quiet: bool,
    pub(crate) wrapper: Vec<String>,
    pub(crate) handed: Vec<String>,
    pub(crate) passed: Vec<Arc<OwnedFd>>,
    pub(crate) unprivileged: bool,
}

impl Setup {
    /// One pool `www` with one worker on `{dir}/www.sock`, logging to `{dir}/error.log`.
    pub fn new() -> Setup {
        Setup { pools: vec![("www".into(), String::new())], ..Setup::default() }
    }

    /// Exactly this configuration file, none of the usual lines.
    pub fn bare(config: &str) -> Setup {
        Setup { global: config.into(), bare: true, ..Setup::default() }
    }

    /// More lines for `[global]`; a line given twice wins over an earlier one.
    pub fn global(mut self, lines: &str) -> Setup {
        self.global.push_str(lines);
        self.global.push('\n');
        self
    }

    /// More lines for a pool, which is added if it is new.
    pub fn pool(mut self, name: &str, lines: &str) -> Setup {
        match self.pools.iter_mut().find(|(known, _)| known == name) {
            Some((_, text)) => text.push_str(&format!("{lines}\n")),
            None => self.pools.push((name.into(), format!("{lines}\n"))),
        }
        self
    }

    /// More lines for the pool `www`.
    pub fn www(self, lines: &str) -> Setup {
        self.pool("www", lines)
    }

    /// A file below the server's folder; scripts live below `www/`.
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Setup {
        self.files.push((path.into(), content.as_ref().to_vec()));
        self
    }

    /// A script of the document root.
    pub fn script(self, name: &str, content: &str) -> Setup {
        self.file(&format!("www/{name}"), content)
    }

    /// One more word of the command line, after `-y FILE`.
    pub fn arg(mut self, word: &str) -> Setup {
        self.args.push(word.into());
        self
    }

    /// A variable of the master's environment, which is otherwise nearly empty.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs in the background, without `-F`, with a pid file.
    pub fn daemon(mut self) -> Setup {
        self.daemon = true;
        self
    }

    /// The log will not say when the server is ready: then it is when the socket of `www` accepts a connection.
    pub fn quiet(mut self) -> Setup {
        self.quiet = true;
        self
    }

    /// Words before the executable: a program that becomes the server in the end.
    pub fn wrapped(mut self, words: &[&str]) -> Setup {
        self.wrapper.extend(words.iter().map(|word| word.to_string()));
        self
    }

    /// Starts it with a socket that listens at this address already, as descriptor 3 (the second one as 4).
    pub fn handed_in(mut self, address: &str) -> Setup {
        self.handed.push(address.into());
        self
    }

    /// Starts it with this descriptor, as 3 (the second one as 4).
    pub fn passed(mut self, fd: impl Into<OwnedFd>) -> Setup {
        self.passed.push(Arc::new(fd.into()));
        self
    }

    /// Says as systemd does that so many descriptors were handed in, from 3 on, and by which names (separated by
    /// colons; empty: by none).
    pub fn activated(self, count: &str, names: &str) -> Setup {
        let names =
            if names.is_empty() { String::new() } else { format!("export LISTEN_FDNAMES='{names}'; ") };
        let script = format!("export LISTEN_FDS='{count}' LISTEN_PID=$$; {names}exec \"$0\" \"$@\"");
        self.wrapped(&["/bin/sh", "-c", &script])
    }

    /// Runs as the pools' user, who owns the server's folder then.
    pub fn unprivileged(mut self) -> Setup {
        self.unprivileged = true;
        self
    }

    /// The words before the executable, all reasons taken together.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let shell = |redirects: &str| {
            let script = format!("exec {redirects}; exec \"$0\" \"$@\"");
            vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
        };
        let sockets = match self.handed.len() + self.passed.len() {
            0 => Vec::new(),
            1 => shell("3<&0 0</dev/null"),
            _ => shell("3<&0 4<&1 0</dev/null 1>stdout"),
        };
        let user = ["setpriv", "--reuid", POOL_USER, "--regid", POOL_USER, "--init-groups"];
        let user = user.iter().filter(|_| self.unprivileged && is_root()).map(|word| word.to_string());
        self.wrapper.iter().cloned().chain(sockets).chain(user).collect()
    }

    /// The text of the configuration file, placeholders not yet filled in.
    pub fn config(&self) -> String {
        if self.bare {
            return self.global.clone();
        }
        let mut text =
            format!("[global]\nerror_log = {{dir}}/error.log\npid = {{dir}}/php-fpm.pid\n{}", self.global);
        for (name, lines) in &self.pools {
            text.push_str(&format!("[{name}]\n"));
            if is_root() {
                text.push_str("user = {user}\ngroup = {group}\n");
            }
            text.push_str(&format!("listen = {{dir}}/{name}.sock\nlisten.mode = 0666\n"));
            text.push_str("pm = static\npm.max_children = 1\n");
            text.push_str(lines);
        }
        text
    }
}
