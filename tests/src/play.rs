//! Scenarios in a few lines: a [`Setup`] and a script of actions played on php-fpm and on cornac at the same time. The
//! [`Scene`] writes down what each action shows (replies, process tree, files, exit code), masked, and at the end what
//! standard output, standard error and the log say; both records have to be equal.
//!
//! ```no_run
//! use cornac_tests::{Plays, Signal, scene::slow};
//! let mut plays = Plays::default();
//! plays.add("USR1 while a request runs", slow(), |scene| {
//!     scene.hold(1).signal(Signal::SIGUSR1).wait_log("error log file re-opened");
//!     scene.release().tree().stop(Signal::SIGTERM);
//! });
//! plays.run();
//! ```

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::compare::mask;
use crate::pair::Runs;
use crate::processes::Process;
use crate::response::readable;
use crate::scene::begun;
use crate::server::{SEARCH_PATH, Server, Side};
use crate::setup::Setup;
use crate::wait;

/// What is compared of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traces {
    InOrder,
    /// Several workers end at the same time: in which order is a matter of chance.
    Sorted,
    None,
}

type Script = Box<dyn Fn(&mut Scene) + Send + Sync>;

/// One scenario.
pub struct Play {
    name: String,
    setup: Setup,
    /// `None`: the server is meant to end by itself at its start.
    script: Option<Script>,
    traces: Traces,
    differs: Option<String>,
}

impl Play {
    /// A difference that is known and intended: the scenario fails when it is gone.
    pub fn differs(&mut self, reason: &str) -> &mut Play {
        self.differs = Some(reason.into());
        self
    }

    /// Compares which lines the log has, and not their order.
    pub fn log_in_any_order(&mut self) -> &mut Play {
        self.traces = Traces::Sorted;
        self
    }

    /// Does not compare the log.
    pub fn without_log(&mut self) -> &mut Play {
        self.traces = Traces::None;
        self
    }

    fn act(&self, side: Side) -> String {
        let Some(script) = &self.script else { return crate::run::until_exit(side, &self.setup) };
        let mut scene = Scene::begin(Server::start(side, &self.setup));
        script(&mut scene);
        scene.end(self.traces)
    }
}

/// A table of scenarios, played side by side.
#[derive(Default)]
pub struct Plays(Vec<Play>);

/// Scenarios at a time. They mostly wait.
const AT_ONCE: usize = 6;

impl Plays {
    /// One more scenario.
    pub fn add(
        &mut self,
        name: &str,
        setup: Setup,
        script: impl Fn(&mut Scene) + Send + Sync + 'static,
    ) -> &mut Play {
        self.push(name, setup, Some(Box::new(script)))
    }

    /// A setup that is refused: exit code and output are compared.
    pub fn refused(&mut self, name: &str, setup: Setup) -> &mut Play {
        self.push(name, setup, None)
    }

    fn push(&mut self, name: &str, setup: Setup, script: Option<Script>) -> &mut Play {
        self.0.push(Play { name: name.into(), setup, script, traces: Traces::InOrder, differs: None });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Plays all of them, on both sides, and panics with everything that differs.
    pub fn run(&self) {
        let mut runs = Runs::default();
        for plays in self.0.chunks(AT_ONCE) {
            runs.compare_all(plays, |play| (&play.name, play.differs.as_deref()), Play::act);
        }
        runs.finish();
    }
}

/// A running server on which a scenario is played, and the record of it.
pub struct Scene {
    server: Server,
    seen: String,
    held: Vec<Client>,
    /// Everything is gone already.
    over: bool,
}

impl Scene {
    fn begin(server: Server) -> Scene {
        Scene { server, seen: String::new(), held: Vec::new(), over: false }
    }

    /// Stops the server, if it still runs, and adds the traces.
    fn end(mut self, traces: Traces) -> String {
        self.held.clear();
        if !self.over {
            self.server.stop();
        }
        if traces == Traces::None {
            return self.seen;
        }
        let (stdout, stderr, log) = (self.server.stdout(), self.server.stderr(), self.server.log());
        let mut log: Vec<String> = mask(&self.server, &log, &[]).lines().map(str::to_owned).collect();
        if traces == Traces::Sorted {
            log.sort();
        }
        let output = mask(&self.server, &format!("stdout: {stdout}\nstderr: {stderr}"), &[]);
        format!("{}\n{output}\nlog:\n{}", self.seen, log.join("\n"))
    }

    /// The server, for whatever has no word here.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Writes something down.
    pub fn note(&mut self, text: impl AsRef<str>) -> &mut Scene {
        let text = mask(&self.server, text.as_ref(), &[]);
        self.seen.push_str(&text);
        self.seen.push('\n');
        self
    }

    /// GET of a script: the whole reply is noted.
    pub fn get(&mut self, script: &str) -> &mut Scene {
        let reply = self.server.get(script).to_text();
        self.note(format!("GET {script}: {reply}"))
    }

    /// GET of a script: nothing is noted.
    pub fn visit(&mut self, script: &str) -> &mut Scene {
        self.server.get(script);
        self
    }

    /// Begins so many slow requests (of [`crate::scene::slow`]) that last until [`Scene::release`].
    pub fn hold(&mut self, count: usize) -> &mut Scene {
        for _ in 0..count {
            let client = begun(&self.server);
            self.held.push(client);
        }
        self
    }

    /// Lets them end; notes their replies.
    pub fn release(&mut self) -> &mut Scene {
        self.server.write("tmp/go", "");
        self.replies()
    }

    /// Notes what the slow requests are answered without their being released.
    pub fn replies(&mut self) -> &mut Scene {
        // A client that stays connected would keep php-fpm's worker.
        for mut client in std::mem::take(&mut self.held) {
            let reply = client.read_reply().to_text();
            self.note(format!("slow: {reply}"));
        }
        self
    }

    /// Signals the master.
    pub fn signal(&mut self, signal: Signal) -> &mut Scene {
        self.server.signal(signal);
        self
    }

    /// Signals the oldest worker of a pool and waits until it is gone.
    pub fn end_worker(&mut self, pool: &str, signal: Signal) -> &mut Scene {
        let worker = self.oldest(pool);
        worker.signal(signal);
        let gone = wait::until(|| (!worker.lives()).then_some(()));
        assert!(gone.is_some(), "{:?}: the worker survives {signal}", self.server.side);
        self
    }

    /// Signals the oldest worker of a pool.
    pub fn signal_worker(&mut self, pool: &str, signal: Signal) -> &mut Scene {
        self.oldest(pool).signal(signal);
        self
    }

    fn oldest(&self, pool: &str) -> Process {
        wait::until(|| self.server.workers(pool).into_iter().min_by_key(|worker| worker.pid))
            .unwrap_or_else(|| panic!("{:?}: pool {pool} has no worker", self.server.side))
    }

    /// Waits until the log contains a text.
    pub fn wait_log(&mut self, text: &str) -> &mut Scene {
        self.server.wait_log(text);
        self
    }

    /// Waits until the log contains a text so many times.
    pub fn wait_log_times(&mut self, text: &str, times: usize) -> &mut Scene {
        self.server.wait_log_times(text, times);
        self
    }

    /// Waits until the server has said so many times that it is ready.
    pub fn wait_ready(&mut self, times: usize) -> &mut Scene {
        self.server.wait_ready_times(times);
        self
    }

    /// Waits until a pool has exactly so many workers.
    pub fn wait_workers(&mut self, pool: &str, count: usize) -> &mut Scene {
        let reached = wait::until(|| (self.server.workers(pool).len() == count).then_some(()));
        let found = self.server.workers(pool).len();
        assert!(
            reached.is_some(),
            "{:?}: {found} workers, not {count}\n{}",
            self.server.side,
            self.server.log()
        );
        self.note(format!("{count} workers of {pool}"))
    }

    /// Waits until a file holds a text.
    pub fn wait_file(&mut self, name: &str, text: &str) -> &mut Scene {
        let found = wait::until(|| self.server.read(name).contains(text).then_some(()));
        assert!(found.is_some(), "{:?}: no {text:?} in {name}: {}", self.server.side, self.server.read(name));
        self
    }

    /// Notes titles and users of all processes. Fork servers are left out: php-fpm has none.
    pub fn tree(&mut self) -> &mut Scene {
        let mut lines = wait::until(|| settled(self.server.processes())).unwrap_or_default();
        lines.retain(|line| !line.starts_with(FORK_SERVER));
        lines.sort();
        self.note(lines.join("\n"))
    }

    /// Notes kind, mode and name of what lies in the server's folder, but for cornac's control socket: php-fpm has none.
    pub fn files(&mut self) -> &mut Scene {
        let mut lines = listed(self.server.dir());
        lines.retain(|line| !(line.starts_with("socket 600 ") && line.ends_with(".control")));
        lines.sort();
        self.note(lines.join("\n"))
    }

    /// Notes the content of a file below the folder.
    pub fn read(&mut self, name: &str) -> &mut Scene {
        let text = self.server.read(name);
        self.note(format!("{name}: {text}"))
    }

    /// Writes a file below the folder.
    pub fn write(&mut self, name: &str, content: &str) -> &mut Scene {
        let content = self.server.fill(content);
        self.server.write(name, content);
        self
    }

    /// Gives a file below the folder another name.
    pub fn rename(&mut self, from: &str, to: &str) -> &mut Scene {
        let dir = self.server.dir();
        std::fs::rename(dir.join(from), dir.join(to)).expect("own file");
        self
    }

    /// Runs a program with words in which `{dir}` is filled in; notes its exit code and output.
    pub fn run(&mut self, program: &str, words: &[&str]) -> &mut Scene {
        let words = words.iter().map(|word| self.server.fill(word));
        let mut command = Command::new(program);
        let output = command.args(words).env("PATH", SEARCH_PATH).current_dir(self.server.dir()).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = [&output.stdout[..], &output.stderr[..]].map(readable).concat();
        self.note(format!("{program} {:?}: {text}", output.status.code()))
    }

    /// Signals the master and waits until everything is gone; notes exit code and files.
    pub fn stop(&mut self, signal: Signal) -> &mut Scene {
        self.server.signal(signal);
        self.gone()
    }

    /// Waits until everything is gone; notes exit code and files.
    pub fn gone(&mut self) -> &mut Scene {
        self.server.expect_gone();
        self.over = true;
        let code = self.server.wait_exit();
        self.note(format!("exit {code}")).files()
    }
}

const FORK_SERVER: &str = "php-fpm: fork server ";

/// One line for each process, once every newborn has taken its own title and no longer has that of its parent.
fn settled(processes: BTreeSet<Process>) -> Option<Vec<String>> {
    let mut parents = BTreeSet::new();
    let mut line = |process: Process| {
        let ids = |name| process.status_line(name).unwrap_or_default().replace('\t', " ");
        let title = process.title();
        let newborn = (title.starts_with("php-fpm: master") || title.starts_with(FORK_SERVER))
            && !parents.insert(title.clone());
        (!newborn && !title.is_empty()).then(|| format!("{title} uid {} gid {}", ids("Uid"), ids("Gid")))
    };
    processes.into_iter().map(&mut line).collect()
}

/// One line for each entry of a folder.
fn listed(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let line = |entry: std::fs::DirEntry| {
        let data = entry.metadata().ok()?;
        let kind = match data.file_type() {
            kind if kind.is_socket() => "socket",
            kind if kind.is_dir() => "folder",
            kind if kind.is_symlink() => "link",
            _ => "file",
        };
        Some(format!(
            "{kind} {:o} {}",
            data.permissions().mode() & 0o7777,
            entry.file_name().to_string_lossy()
        ))
    };
    entries.flatten().filter_map(line).collect()
}
