//! One running server, php-fpm or cornac: started from a [`Setup`], ready when its log says so, stopped by signal, and
//! checked to have left nothing behind. Signals go to pids it started, never to names.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use nix::sys::signal::Signal;

use crate::binary;
use crate::client::{Client, Reply, Request};
use crate::processes::{self, MARK, Process};
use crate::setup::Setup;
use crate::site::{Site, give_to_pool_user, pool_user};
use crate::wait;

/// Which of the two servers of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// php-fpm.
    Reference,
    /// cornac, or what `CORNAC_TEST_SUBJECT` names.
    Subject,
}

impl Side {
    /// The executable of this side.
    pub fn executable(self) -> PathBuf {
        match self {
            Side::Reference => binary::reference(),
            Side::Subject => binary::subject(),
        }
    }

    /// Begins the folder's name. Equal lengths, so that nothing is wrapped or counted differently.
    fn prefix(self) -> &'static str {
        match self {
            Side::Reference => "fpm-ref-",
            Side::Subject => "fpm-sub-",
        }
    }
}

/// A started server with its folder.
#[derive(Debug)]
pub struct Server {
    /// Which one it is.
    pub side: Side,
    site: Site,
    ports: [u16; 2],
    uses_ports: bool,
    quiet: bool,
    child: Mutex<Child>,
    status: Mutex<Option<ExitStatus>>,
    seen: Mutex<BTreeSet<Process>>,
    daemon: bool,
    held: Vec<OwnedFd>,
}

impl Server {
    /// Starts a server and waits until it accepts requests; panics with its output if it does not.
    pub fn start(side: Side, setup: &Setup) -> Server {
        let server = Server::launch(side, setup);
        if let Err(why) = server.wait_ready() {
            panic!("{side:?} {}: {why}\n{}", side.executable().display(), server.all_output());
        }
        server
    }

    /// Starts a server and waits for nothing: for configurations that are meant to fail.
    pub fn launch(side: Side, setup: &Setup) -> Server {
        let site = Site::create(side.prefix());
        let ports = [free_port(), free_port()];
        let fill = |text: &str| fill_in(text, site.path(), &ports);
        site.write("php-fpm.conf", fill(&setup.config()).as_bytes());
        for (name, content) in &setup.files {
            match std::str::from_utf8(content) {
                Ok(text) if !name.starts_with("www/") => site.write(name, fill(text).as_bytes()),
                _ => site.write(name, content),
            };
        }
        let uses_ports = setup.config().contains("{port");
        if setup.unprivileged {
            give_to_pool_user(site.path());
        }
        let passed = setup.passed.iter().map(|fd| fd.try_clone().expect("own socket"));
        let held: Vec<OwnedFd> =
            passed.chain(setup.handed.iter().map(|address| listen_at(&fill(address)))).collect();
        let wrapper: Vec<String> = setup.wrapper().iter().map(|word| fill(word)).collect();
        let mut command = command(side, &site, &wrapper);
        for (fd, index) in held.iter().zip(0..) {
            let copy = Stdio::from(fd.try_clone().expect("own socket"));
            if index == 0 {
                command.stdin(copy)
            } else {
                command.stdout(copy)
            };
        }
        command.args(["-y", &fill("{dir}/php-fpm.conf")]);
        if !setup.daemon {
            command.arg("-F");
        }
        command.args(setup.args.iter().map(|word| fill(word)));
        command.envs(setup.env.iter().map(|(name, value)| (name, fill(value))));
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}", side.executable().display()));
        let (child, status, seen) = (Mutex::new(child), Mutex::default(), Mutex::default());
        let Setup { daemon, quiet, .. } = *setup;
        Server { side, site, ports, uses_ports, quiet, child, status, seen, daemon, held }
    }

    fn wait_ready(&self) -> Result<(), String> {
        let ready = wait::until(|| {
            if self.says_ready() {
                return Some(Ok(()));
            }
            match self.exit_status() {
                Some(status) if !(self.daemon && status.success()) => {
                    Some(Err(format!("ended with {status}")))
                }
                _ => None,
            }
        });
        self.remember_processes();
        ready.unwrap_or_else(|| Err("did not become ready".into()))
    }

    fn says_ready(&self) -> bool {
        let text = "ready to handle connections";
        if self.quiet {
            return UnixStream::connect(self.socket("www")).is_ok();
        }
        self.log().contains(text) || self.stderr().contains(text)
    }

    /// Waits until it has said so many times that it is ready; panics if it never does.
    pub fn wait_ready_times(&self, times: usize) {
        let text = "ready to handle connections";
        let said = || self.log().matches(text).count().max(self.stderr().matches(text).count()) >= times;
        wait::until(|| said().then_some(()))
            .unwrap_or_else(|| panic!("{:?} is not ready {times} times\n{}", self.side, self.all_output()));
        self.remember_processes();
    }

    /// Starts it anew in the same folder, after its end, and waits until it is ready: with the configuration that lies
    /// there, in the foreground, without further arguments.
    pub fn start_again(&self) {
        let before = self.log().matches("ready to handle connections").count();
        let mut command = command(self.side, &self.site, &[]);
        let child = command.args(["-y", &self.fill("{dir}/php-fpm.conf"), "-F"]).spawn();
        *self.status.lock().expect("lock") = None;
        *self.child.lock().expect("lock") = child.expect("it has started before");
        self.wait_ready_times(before + 1);
    }

    /// Writes the configuration file of another setup in place of its own.
    pub fn configure(&self, setup: &Setup) {
        self.write("php-fpm.conf", self.fill(&setup.config()));
    }

    /// The listening sockets it was started with, which whoever started it holds as well.
    pub fn held(&self) -> &[OwnedFd] {
        &self.held
    }

    /// Another server's setup, to be started with the sockets this one was started with.
    pub fn hand_on(&self, setup: Setup) -> Setup {
        let copies = self.held.iter().map(|fd| fd.try_clone().expect("own socket"));
        Setup { passed: copies.map(std::sync::Arc::new).collect(), ..setup }
    }

    /// Its folder; scripts are below `www`.
    pub fn dir(&self) -> &Path {
        self.site.path()
    }

    /// The path of a script or file of the document root.
    pub fn www(&self, name: &str) -> String {
        self.dir().join("www").join(name).to_string_lossy().into_owned()
    }

    /// `{port}` (0) or `{port2}` (1) of the configuration.
    pub fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// The ports that the configuration names, with their placeholders.
    pub(crate) fn named_ports(&self) -> impl Iterator<Item = (String, &'static str)> {
        let named = self.ports.iter().map(u16::to_string).zip(["{port}", "{port2}"]);
        named.filter(|_| self.uses_ports)
    }

    /// A text with `{dir}`, `{port}`, `{user}` … filled in as in the configuration.
    pub fn fill(&self, text: &str) -> String {
        fill_in(text, self.dir(), &self.ports)
    }

    /// Writes a file below the folder while the server runs.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.site.write(name, content.as_ref());
    }

    /// Reads a file below the folder; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        self.site.read(name)
    }

    /// The master's log, `{dir}/error.log`.
    pub fn log(&self) -> String {
        self.read("error.log")
    }

    /// What the server wrote to its standard error.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// What the server wrote to its standard output.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    fn all_output(&self) -> String {
        format!("stdout:\n{}stderr:\n{}log:\n{}", self.stdout(), self.stderr(), self.log())
    }

    /// Waits until the log contains `text`; panics if it never does.
    pub fn wait_log(&self, text: &str) {
        self.wait_log_times(text, 1);
    }

    /// Waits until the log contains `text` so many times; panics if it never does.
    pub fn wait_log_times(&self, text: &str, times: usize) {
        wait::until(|| (self.log().matches(text).count() >= times).then_some(())).unwrap_or_else(|| {
            panic!("{:?}: no {text:?} in the log ({times} times):\n{}", self.side, self.log())
        });
    }

    /// The socket of a pool.
    pub fn socket(&self, pool: &str) -> PathBuf {
        self.dir().join(format!("{pool}.sock"))
    }

    /// A connection to the pool `www`.
    pub fn connect(&self) -> Client {
        Client::unix(&self.socket("www"))
    }

    /// One request on a new connection to the pool `www`.
    pub fn send(&self, request: &Request) -> Reply {
        self.connect().send(request)
    }

    /// GET of a script of the document root.
    pub fn get(&self, script: &str) -> Reply {
        self.send(&Request::get(self, script))
    }

    /// The master's pid: of the child, or from the pid file in the background.
    pub fn master(&self) -> i32 {
        if self.daemon {
            return self.read("php-fpm.pid").trim().parse().expect("pid in the pid file");
        }
        self.child.lock().expect("lock").id() as i32
    }

    /// Signals the master.
    pub fn signal(&self, signal: Signal) {
        self.remember_processes();
        if let Some(master) = Process::of(self.master()) {
            master.signal(signal);
        }
    }

    /// All processes below the master, and the master, now.
    pub fn processes(&self) -> BTreeSet<Process> {
        processes::tree(self.master())
    }

    /// The processes titled `php-fpm: pool NAME`.
    pub fn workers(&self, pool: &str) -> Vec<Process> {
        let title = format!("php-fpm: pool {pool}");
        self.processes().into_iter().filter(|process| process.title() == title).collect()
    }

    /// The process titled `php-fpm: fork server NAME`, once it is there.
    pub fn fork_server(&self, pool: &str) -> Process {
        let title = format!("php-fpm: fork server {pool}");
        wait::until(|| self.processes().into_iter().find(|process| process.title() == title))
            .unwrap_or_else(|| panic!("no fork server of {pool}\n{}", self.log()))
    }

    fn remember_processes(&self) {
        let mut seen = self.seen.lock().expect("lock");
        let marked = processes::marked(self.dir());
        // Workers of a master in the background carry no mark: their environment is cleared.
        seen.extend(marked.iter().flat_map(|process| processes::tree(process.pid)));
        seen.extend(marked);
        let child = self.child.lock().expect("lock").id() as i32;
        seen.extend(processes::tree(child));
    }

    /// The launched process's exit status, if it ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut status = self.status.lock().expect("lock");
        if status.is_none() {
            *status = self.child.lock().expect("lock").try_wait().expect("own child");
        }
        *status
    }

    /// Waits until the launched process ends by itself; its exit code, negative for a signal.
    pub fn wait_exit(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = wait::until(|| self.exit_status());
        let status = status.unwrap_or_else(|| panic!("{:?} did not end\n{}", self.side, self.all_output()));
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// SIGTERM to the master; waits until every process is gone. Panics if one stays.
    pub fn stop(&self) {
        self.stop_with(Signal::SIGTERM);
    }

    /// As [`Server::stop`] with another signal.
    pub fn stop_with(&self, signal: Signal) {
        self.signal(signal);
        self.expect_gone();
    }

    /// Waits until nothing this server started is alive.
    pub fn expect_gone(&self) {
        if !self.daemon {
            self.wait_exit();
        }
        let seen = self.seen.lock().expect("lock").clone();
        let left = || -> Vec<Process> {
            let marked = processes::marked(self.dir());
            seen.union(&marked).copied().filter(|process| process.lives()).collect()
        };
        if wait::until(|| left().is_empty().then_some(())).is_none() {
            let names: Vec<String> =
                left().iter().map(|process| format!("{} {}", process.pid, process.title())).collect();
            panic!("{:?} left processes behind: {names:?}", self.side);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remember_processes();
        let seen = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        for process in seen {
            process.signal(Signal::SIGKILL);
        }
        let _ = self.child.lock().map(|mut child| child.wait());
    }
}

/// Where programs are looked for, whatever the PATH of whoever runs the tests.
pub(crate) const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The executable, called through a link named `php-fpm` in the server's folder, with a nearly empty environment.
pub(crate) fn command(side: Side, site: &Site, wrapper: &[String]) -> Command {
    let link = site.path().join("php-fpm");
    if !link.exists() {
        symlink(side.executable(), &link).expect("link in own folder");
    }
    let output = |name: &str| File::create(site.path().join(name)).expect("file in own folder");
    let mut command = match wrapper.split_first() {
        None => Command::new(link),
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(link);
            command
        }
    };
    command.env_clear().env("PATH", SEARCH_PATH).env("TZ", "UTC").env(MARK, site.path());
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORNAC_")));
    command.current_dir(site.path()).stdin(Stdio::null());
    command.stdout(output("stdout")).stderr(output("stderr")).process_group(0);
    command
}

/// Replaces the placeholders of a setup.
pub(crate) fn fill_in(text: &str, dir: &Path, ports: &[u16; 2]) -> String {
    let (user, group) = pool_user();
    text.replace("{dir}", &dir.to_string_lossy())
        .replace("{user}", &user)
        .replace("{group}", &group)
        .replace("{port}", &ports[0].to_string())
        .replace("{port2}", &ports[1].to_string())
}

/// A listening socket at a path, or at an address with a port.
fn listen_at(address: &str) -> OwnedFd {
    if address.starts_with('/') {
        let listener = UnixListener::bind(address).expect("path in own folder");
        std::fs::set_permissions(address, Permissions::from_mode(0o666)).expect("own socket");
        return listener.into();
    }
    TcpListener::bind(address).expect("free port").into()
}

/// A TCP port nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    listener.local_addr().expect("own address").port()
}
