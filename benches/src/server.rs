//! Starts php-fpm or cornac with the same pool, the same php.ini and the same command line, and ends it again.
//! Signals go to the processes started here, by pid, and to nothing else.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::cost::tree;

/// Workers of either pool.
pub(crate) const WORKERS: usize = 4;

/// The user of the pools when the comparison runs as root.
pub(crate) const POOL_USER: &str = "www-data";

/// What a server is to serve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One pool `www` with always as many workers.
    Workers,
    /// So many ondemand pools, `www` among them, with nobody asking.
    IdlePools(usize),
}

/// A running server.
pub(crate) struct Server {
    /// `php-fpm` or `cornac`: the heading of its column.
    pub(crate) name: &'static str,
    /// The listening socket of its pool.
    pub(crate) socket: PathBuf,
    /// First line of `-v`.
    pub(crate) version: String,
    child: Child,
}

impl Server {
    /// Starts `binary` through a link named `php-fpm`, everything in `dir`, and waits until it accepts connections.
    pub(crate) fn start(
        name: &'static str,
        binary: &Path,
        dir: &Path,
        shape: Shape,
    ) -> Result<Server, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{name}: {what}: {error}");
        let dir = dir.join(name);
        fs::create_dir(&dir).map_err(|error| failed("own folder", &error))?;
        let (link, config, socket) = (dir.join("php-fpm"), dir.join("php-fpm.conf"), dir.join("www.sock"));
        symlink(binary, &link).map_err(|error| failed("link", &error))?;
        fs::write(&config, configuration(&dir, shape)).map_err(|error| failed("configuration", &error))?;
        let version = version(&link).map_err(|error| failed("-v", &error))?;
        let output = File::create(dir.join("output")).map_err(|error| failed("output", &error))?;
        let errors = output.try_clone().map_err(|error| failed("output", &error))?;
        let mut command = Command::new(&link);
        command.args(["-F", "-O", "-R", "-y"]).arg(&config);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        end_with_this_process(&mut command);
        let child = command.spawn().map_err(|error| failed("start", &error))?;
        let mut server = Server { name, socket, version, child };
        server.wait_ready(shape, &dir).map_err(|why| {
            let output = fs::read_to_string(dir.join("output")).unwrap_or_default();
            format!("{name} ({}) {why}\n{output}", binary.display())
        })?;
        Ok(server)
    }

    /// The master's pid.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn wait_ready(&mut self, shape: Shape, dir: &Path) -> Result<(), String> {
        for _ in 0..10_000 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            let ready = match shape {
                Shape::Workers => self.has_all_workers(),
                Shape::IdlePools(_) => says_ready(dir),
            };
            if ready {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        Err("did not become ready in 10 s".into())
    }

    fn has_all_workers(&self) -> bool {
        let workers = tree(self.pid()).into_iter().filter(|&pid| is_worker(pid)).count();
        workers == WORKERS && std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let processes = tree(self.pid());
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        for _ in 0..1_000 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        // The master has not been reaped, so neither its pid nor its living children's can have been given away.
        for pid in processes {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// By the title that both servers give to the workers of the pool `www`.
fn is_worker(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|title| title.starts_with(b"php-fpm: pool www"))
}

fn says_ready(dir: &Path) -> bool {
    fs::read_to_string(dir.join("output")).is_ok_and(|text| text.contains("ready to handle connections"))
}

/// No access log and no other extras: what is left is the path of a request.
fn configuration(dir: &Path, shape: Shape) -> String {
    let user = if geteuid().is_root() {
        format!("user = {POOL_USER}\ngroup = {POOL_USER}\n")
    } else {
        String::new()
    };
    let dir = dir.display();
    let manager = if shape == Shape::Workers { "static" } else { "ondemand" };
    let pool = |name: &str| {
        format!(
            "[{name}]\n{user}listen = {dir}/{name}.sock\nlisten.mode = 0666\npm = {manager}\n\
             pm.max_children = {WORKERS}\n"
        )
    };
    let others = match shape {
        Shape::Workers => 0,
        Shape::IdlePools(pools) => pools.saturating_sub(1),
    };
    let others: String = (0..others).map(|number| pool(&format!("pool{number}"))).collect();
    format!("[global]\nerror_log = {dir}/error.log\n\n{}{others}", pool("www"))
}

/// The first line of what `-v` prints.
pub(crate) fn version(binary: &Path) -> Result<String, String> {
    let output = Command::new(binary).arg("-v").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    if output.status.success() && !line.is_empty() {
        Ok(line.to_owned())
    } else {
        Err(format!("{}", output.status))
    }
}

/// A comparison that is killed leaves no server behind.
pub(crate) fn end_with_this_process(command: &mut Command) {
    let before_exec = || set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe functions may run; prctl is a bare system call, and the
    // closure neither allocates nor takes a lock.
    unsafe { command.pre_exec(before_exec) };
}

/// The php-fpm to measure against: `PHP_FPM_BIN`, or the first of the usual places.
pub(crate) fn find_php_fpm() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("PHP_FPM_BIN").map(PathBuf::from) {
        return if path.exists() {
            Ok(path)
        } else {
            Err(format!("PHP_FPM_BIN={}: not there", path.display()))
        };
    }
    const PLACES: [&str; 3] = ["/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm", "/usr/local/sbin/php-fpm"];
    let found = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| {
        format!(
            "php-fpm is not installed (looked for {}): install php8.2-fpm or set PHP_FPM_BIN",
            PLACES.join(", ")
        )
    })
}

/// The cornac to measure: `CORNAC_BIN`, or the one built in the same target folder.
pub(crate) fn find_cornac() -> Result<PathBuf, String> {
    let path = match std::env::var_os("CORNAC_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            own.with_file_name("cornac")
        }
    };
    let absolute = path.canonicalize();
    absolute.map_err(|error| format!("no cornac at {}: {error}; `make bench` builds it", path.display()))
}
