//! One server of any configuration, started, signalled and ended: by its own pid and those of its descendants, nothing
//! else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, geteuid};

use super::address::Address;
use super::processors::Processors;
use crate::cost::tree;
use crate::server::{POOL_USER, end_with_this_process};

/// An executable that is measured.
pub(crate) struct Subject {
    /// `php-fpm` or `cornac`.
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
}

/// A folder with a configuration, and a master started with it, if any.
pub(crate) struct Master {
    pub(crate) name: &'static str,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    /// Where it may run.
    pub(crate) processors: Processors,
}

/// A service that does not start or end within this never will.
const PATIENCE: Duration = Duration::from_secs(10);

impl Master {
    /// Writes a configuration into a folder of its own. `php_ini` takes the place of the installed one.
    pub(crate) fn prepare(
        subject: &Subject,
        dir: &Path,
        label: &str,
        configuration: &str,
        php_ini: Option<&Path>,
    ) -> Result<Master, String> {
        let dir = dir.join(format!("{label}-{}", subject.name));
        let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
        fs::create_dir(&dir).map_err(failed)?;
        symlink(&subject.binary, dir.join("php-fpm")).map_err(failed)?;
        let mut arguments = ["-F", "-R", "-y"].map(str::to_owned).to_vec();
        arguments.push(dir.join("php-fpm.conf").display().to_string());
        if let Some(path) = php_ini {
            arguments.extend(["-c".to_owned(), path.display().to_string()]);
        }
        let master =
            Master { name: subject.name, dir, arguments, child: None, processors: Processors::default() };
        master.configure(configuration)?;
        Ok(master)
    }

    /// Puts another configuration in the old one's place.
    pub(crate) fn configure(&self, configuration: &str) -> Result<(), String> {
        let text = format!("[global]\nerror_log = {}\n{configuration}", self.log().display());
        fs::write(self.dir.join("php-fpm.conf"), text).map_err(|error| error.to_string())
    }

    /// What `-t` says: `Err` holds it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let output = self.command("php-fpm").arg("-t").output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let before = self.logged("ready to handle connections");
        let mut command = self.command("php-fpm");
        end_with_this_process(&mut command);
        self.processors.serve(&mut command);
        self.child = Some(command.spawn().map_err(|error| format!("{}: {error}", self.name))?);
        let ready = |master: &mut Master| {
            master.ended().is_some() || master.logged("ready to handle connections") > before
        };
        self.wait(PATIENCE, ready);
        match self.ended() {
            None if self.logged("ready to handle connections") > before => Ok(()),
            None => Err(format!("{}: not ready in {PATIENCE:?}\n{}", self.name, self.log_text())),
            Some(status) => Err(format!("{}: ended with {status}\n{}", self.name, self.log_text())),
        }
    }

    /// Takes over a master that was started elsewhere, with [`Master::command`].
    pub(crate) fn adopt(&mut self, child: Child) {
        self.child = Some(child);
    }

    /// The command line that starts it, through `program`: the link in its folder, or a shell that executes that.
    pub(crate) fn command(&self, program: &str) -> Command {
        let output = File::options().create(true).append(true).open(self.dir.join("output"));
        let stream = |file: &std::io::Result<File>| {
            file.as_ref().ok().and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Stdio::from)
        };
        let link = self.dir.join("php-fpm");
        let mut command = if program == "php-fpm" {
            Command::new(link)
        } else {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(program).arg(link);
            shell
        };
        command.args(&self.arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(stream(&output)).stderr(stream(&output));
        command
    }

    /// The master's pid; 0, which nothing is ever sent to, when there is none.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id().cast_signed())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Sends a signal to the master, if it has not ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.child.is_some() && self.ended().is_none() {
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// Looks every few milliseconds. `false` when it never became true.
    pub(crate) fn wait(&mut self, limit: Duration, mut condition: impl FnMut(&mut Master) -> bool) -> bool {
        let began = Instant::now();
        loop {
            if condition(self) {
                return true;
            }
            if began.elapsed() > limit {
                return false;
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Workers of all pools, by the title that both servers give them.
    pub(crate) fn workers(&self) -> Vec<i32> {
        tree(self.pid()).into_iter().filter(|pid| title(*pid).starts_with(b"php-fpm: pool ")).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("error.log")
    }

    /// Lines of the log that contain a text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().lines().filter(|line| line.contains(text)).count()
    }

    fn log_text(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        read("output") + &read("error.log")
    }

    /// The first line of the log that is a warning or worse, of those behind the first `lines`; without its date.
    pub(crate) fn complaint(&self, lines: usize) -> Option<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let is_one =
            |line: &&str| ["WARNING: ", "ERROR: ", "ALERT: "].iter().any(|level| line.contains(level));
        let line = text.lines().skip(lines).find(is_one)?;
        Some(line.split_once("] ").map_or(line, |(_, rest)| rest).to_owned())
    }

    /// Ends what is left of the service once its master has ended, as systemd does with a unit's processes. How many
    /// there were after half a second.
    pub(crate) fn end_leftovers(processes: &Processes) -> usize {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            if processes.alive().is_empty() {
                return 0;
            }
            sleep(Duration::from_millis(2));
        }
        let left = processes.alive();
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        while !processes.alive().is_empty() && began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(2));
        }
        left.len()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.child.is_none() || self.ended().is_some() {
            return;
        }
        let processes = Processes::of(self.pid());
        self.signal(Signal::SIGTERM);
        if !self.wait(Duration::from_secs(5), |master| master.ended().is_some()) {
            self.signal(Signal::SIGKILL);
            if let Some(child) = &mut self.child {
                let _ = child.wait();
            }
        }
        Master::end_leftovers(&processes);
    }
}

/// Processes of a service, told by when they began from others that get the same pid later.
pub(crate) struct Processes(BTreeMap<i32, u64>);

impl Processes {
    /// All below a master, itself left out.
    pub(crate) fn of(master: i32) -> Processes {
        let pids = tree(master).into_iter().filter(|pid| *pid != master);
        Processes(pids.filter_map(|pid| Some((pid, began(pid)?))).collect())
    }

    /// Those that have not ended. Their parent gone, they are children of this process, and those that have ended are
    /// reaped here.
    fn alive(&self) -> Vec<i32> {
        let alive = self.0.iter().filter(|(pid, at)| {
            let _ = waitpid(Pid::from_raw(**pid), Some(WaitPidFlag::WNOHANG));
            began(**pid) == Some(**at)
        });
        alive.map(|(pid, _)| *pid).collect()
    }
}

/// Clock ticks between boot and the begin of a process; `None` when it has ended.
fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next() == Some("Z") { None } else { fields.nth(18)?.parse().ok() }
}

fn title(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// A pool's section, with the user of the pools when this runs as root.
pub(crate) fn pool(name: &str, address: &Address, manager: &str) -> String {
    let user = if geteuid().is_root() {
        format!("user = {POOL_USER}\ngroup = {POOL_USER}\n")
    } else {
        String::new()
    };
    let mode = if matches!(address, Address::Unix(_)) { "listen.mode = 0666\n" } else { "" };
    format!("[{name}]\n{user}listen = {address}\n{mode}{manager}")
}

/// Always so many workers.
pub(crate) fn fixed(workers: usize) -> String {
    format!("pm = static\npm.max_children = {workers}\n")
}
