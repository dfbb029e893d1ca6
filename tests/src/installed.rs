//! A server started from configuration files in their usual places, unchanged: in a mount namespace of its own, with
//! private /etc, /run and /var/log. Only as root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::Signal;

use crate::client::{Client, Reply, Request};
use crate::processes::{self, Process};
use crate::server::{SEARCH_PATH, Side, command};
use crate::site::Site;
use crate::wait;

/// Whether a program is installed; if not, says so visibly.
pub fn has_program(program: &str) -> bool {
    let found = SEARCH_PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    if !found {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

/// Puts the folders of `$0` in the place of those of the machine, and becomes the command.
const ENTER: &str = r#"set -e
mount --bind "$0/etc" /etc
mount --bind "$0/run" /run
mount --bind "$0/log" /var/log
exec "$@""#;

/// Files and users a server shall find, besides those of the machine.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// Absolute path below /etc, and content.
    pub files: Vec<(&'static str, &'static str)>,
    /// Folders below /run and /var/log, each with its owner.
    pub folders: Vec<(&'static str, &'static str)>,
    /// Users and groups that the machine may lack.
    pub users: Vec<&'static str>,
}

/// A started server.
#[derive(Debug)]
pub struct Installed {
    /// Holds what is mounted; scripts are below `www`.
    site: Site,
    child: Mutex<Child>,
}

impl Installed {
    /// Starts the server with these words, and waits until `log` (absolute) says that it is ready.
    pub fn start(side: Side, installation: &Installation, words: &[&str], log: &str) -> Installed {
        let site = Site::create("fpm-etc-");
        prepare(&site, installation);
        let server = command(side, &site, &[]);
        let mut wrapper = Command::new("unshare");
        wrapper.args(["--mount", "sh", "-c", ENTER]).arg(site.path());
        wrapper.arg(server.get_program()).args(words);
        wrapper.env_clear().envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = |name: &str| fs::File::create(site.path().join(name)).expect("own folder");
        let child = wrapper.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
        let child = Mutex::new(child.spawn().expect("unshare starts"));
        let installed = Installed { site, child };
        let ready = || installed.read(log).contains("ready to handle connections").then_some(());
        wait::until(ready).unwrap_or_else(|| {
            panic!("{side:?} is not ready\n{}{}", installed.site.read("stderr"), installed.read(log))
        });
        installed
    }

    /// A script of the folder of scripts.
    pub fn script(&self, name: &str, content: &str) -> String {
        let path = self.site.write(&format!("www/{name}"), content.as_bytes());
        path.to_string_lossy().into_owned()
    }

    /// GET of a script through a socket below /run.
    pub fn get(&self, socket: &str, script: &str) -> Reply {
        let request = Request::empty()
            .param("REQUEST_METHOD", "GET")
            .param("SCRIPT_FILENAME", script)
            .param("SCRIPT_NAME", "/x.php")
            .param("REQUEST_URI", "/x.php");
        Client::unix(&self.outside(socket)).send(&request)
    }

    /// A file by its name inside; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.outside(path)).unwrap_or_default()).into_owned()
    }

    /// `mode uid gid` of a file by its name inside.
    pub fn facts(&self, path: &str) -> String {
        let metadata = fs::symlink_metadata(self.outside(path));
        metadata.map_or_else(|error| error.to_string(), |m| format!("{:o} {} {}", m.mode(), m.uid(), m.gid()))
    }

    /// The access list of a file by its name inside, with numbers for names.
    pub fn access_list(&self, path: &str) -> String {
        let output = Command::new("getfacl").args(["-c", "-n", "-p"]).arg(self.outside(path)).output();
        output.map_or_else(|error| error.to_string(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
    }

    fn outside(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        for (inside, folder) in [("/etc", "etc"), ("/run", "run"), ("/var/log", "log")] {
            if let Ok(rest) = path.strip_prefix(inside) {
                return self.site.path().join(folder).join(rest);
            }
        }
        path.to_path_buf()
    }

    /// The titles of all processes, sorted.
    pub fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> = self.processes().into_iter().map(Process::title).collect();
        titles.sort();
        titles
    }

    fn processes(&self) -> std::collections::BTreeSet<Process> {
        let child = self.child.lock().expect("lock").id() as i32;
        let mut all = processes::marked(self.site.path());
        all.extend(processes::tree(child));
        all
    }

    /// Signals the process that was started and waits for its end; its exit code.
    pub fn end(&self, signal: Signal) -> Option<i32> {
        let mut child = self.child.lock().expect("lock");
        if let Some(master) = Process::of(child.id() as i32) {
            master.signal(signal);
        }
        wait::until(|| child.try_wait().expect("own child")).and_then(|status| status.code())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for process in self.processes() {
            process.signal(Signal::SIGKILL);
        }
        let _ = self.child.lock().map(|mut child| child.wait());
    }
}

/// Copies /etc, adds files and users, makes folders.
fn prepare(site: &Site, installation: &Installation) {
    for folder in ["run", "log"] {
        fs::create_dir(site.path().join(folder)).expect("own folder");
    }
    run(Command::new("cp").args(["-a", "/etc", "."]).current_dir(site.path()));
    for (path, content) in &installation.files {
        site.write(path.trim_start_matches('/'), content.as_bytes());
    }
    for (number, user) in installation.users.iter().enumerate() {
        let id = 7000 + number;
        append(&site.path().join("etc/passwd"), &format!("{user}:x:{id}:{id}::/:/bin/false\n"));
        append(&site.path().join("etc/group"), &format!("{user}:x:{id}:\n"));
    }
    for (path, owner) in &installation.folders {
        let folder = site.path().join(path.trim_start_matches("/var/").trim_start_matches('/'));
        fs::create_dir_all(&folder).expect("own folder");
        let position = installation.users.iter().position(|user| user == owner);
        let id = position.map_or_else(|| (*owner).to_owned(), |number| (7000 + number).to_string());
        run(Command::new("chown").arg(format!("{id}:{id}")).arg(&folder));
    }
}

fn append(path: &Path, line: &str) {
    let text = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, text + line).expect("own folder");
}

fn run(command: &mut Command) {
    let status = command.status().expect("command starts");
    assert!(status.success(), "{command:?}");
}
