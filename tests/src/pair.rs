//! Both servers side by side, and the list of what was found to differ. Differences are collected and reported at the
//! end, so that one run shows them all.

use std::io::Write;

use regex::Regex;

use crate::binary::{is_root, same_on_both_sides};
use crate::case::Case;
use crate::compare::{difference, mask};
use crate::server::{Server, Side};
use crate::setup::Setup;

/// php-fpm and cornac started from the same setup.
pub struct Pair {
    /// php-fpm.
    pub reference: Server,
    /// cornac.
    pub subject: Server,
    findings: Findings,
    log_masks: Vec<Regex>,
    log_differs: Option<String>,
    compare_log: bool,
}

impl Pair {
    /// Starts both and waits until both are ready.
    pub fn start(setup: &Setup) -> Pair {
        let (reference, subject) = std::thread::scope(|scope| {
            let reference = scope.spawn(|| Server::start(Side::Reference, setup));
            (reference.join().expect("php-fpm starts"), Server::start(Side::Subject, setup))
        });
        let (findings, log_masks) = (Findings::default(), Vec::new());
        Pair { reference, subject, findings, log_masks, log_differs: None, compare_log: true }
    }

    /// Both servers.
    pub fn servers(&self) -> [&Server; 2] {
        [&self.reference, &self.subject]
    }

    /// Does the same with both at the same time.
    fn both(&self, work: impl Fn(&Server) -> String + Sync) -> [String; 2] {
        std::thread::scope(|scope| {
            let reference = scope.spawn(|| work(&self.reference));
            let subject = work(&self.subject);
            [reference.join().expect("what is done with php-fpm"), subject]
        })
    }

    /// Sends the request of every case to both and compares the replies.
    pub fn cases(&mut self, cases: impl IntoIterator<Item = Case>) -> &mut Pair {
        for case in cases {
            self.case(&case);
        }
        self
    }

    /// Sends one case's request to both and compares the replies.
    pub fn case(&mut self, case: &Case) -> &mut Pair {
        if !selected(&case.name) {
            return self;
        }
        let [reference, subject] = self.both(|server| {
            let request = case.prepare(server);
            let replies = (0..case.times).map(|_| server.send(&request).to_text());
            mask(server, &replies.collect::<Vec<_>>().join("\n\n"), &case.masks)
        });
        self.findings.compare(&case.name, case.differs.as_deref(), &reference, &subject);
        self
    }

    /// Lets `look` do anything with either server and compares the (masked) texts it returns.
    pub fn same(&mut self, name: &str, look: impl Fn(&Server) -> String + Sync) -> &mut Pair {
        self.observe(name, None, look)
    }

    /// As [`Pair::same`] for a difference that is known and intended: fails when it is gone.
    pub fn differs(
        &mut self,
        name: &str,
        reason: &str,
        look: impl Fn(&Server) -> String + Sync,
    ) -> &mut Pair {
        self.observe(name, Some(reason), look)
    }

    fn observe(
        &mut self,
        name: &str,
        reason: Option<&str>,
        look: impl Fn(&Server) -> String + Sync,
    ) -> &mut Pair {
        if selected(name) {
            let [reference, subject] = self.both(|server| mask(server, &look(server), &[]));
            self.findings.compare(name, reason, &reference, &subject);
        }
        self
    }

    /// Masks what matches in the logs that [`Pair::finish`] compares.
    pub fn mask_log(&mut self, pattern: &str) -> &mut Pair {
        self.log_masks.push(Regex::new(pattern).expect("pattern of a mask"));
        self
    }

    /// The logs differ, and are meant to.
    pub fn log_differs(&mut self, reason: &str) -> &mut Pair {
        self.log_differs = Some(reason.into());
        self
    }

    /// The logs are not compared, because their order is a matter of chance.
    pub fn ignore_log(&mut self) -> &mut Pair {
        self.compare_log = false;
        self
    }

    /// Stops both, checks that nothing is left running, compares standard error and log, and panics with all findings.
    pub fn finish(mut self) {
        for server in self.servers() {
            server.stop();
        }
        if self.compare_log && std::env::var_os("CORNAC_CASE").is_none() {
            let [reference, subject] = self.servers().map(|server| {
                let text = format!(
                    "stdout: {}\nstderr: {}\nlog:\n{}",
                    server.stdout(),
                    server.stderr(),
                    server.log()
                );
                mask(server, &text, &self.log_masks)
            });
            self.findings.compare("the log", self.log_differs.as_deref(), &reference, &subject);
        }
        self.findings.report();
    }
}

/// What differed, and how many cases there were.
#[derive(Default)]
struct Findings {
    texts: Vec<String>,
    cases: usize,
}

impl Findings {
    fn compare(&mut self, name: &str, differs: Option<&str>, reference: &str, subject: &str) {
        self.cases += 1;
        count(name);
        let found = difference(reference, subject);
        if std::env::var_os("CORNAC_SHOW").is_some() {
            say(&format!("---- {name}\n{reference}\n"));
        }
        match (differs, found) {
            (None, Some(lines)) => self.texts.push(format!("  {name}:\n{lines}")),
            (Some(reason), None) if !same_on_both_sides() => {
                self.texts.push(format!("  {name}: no longer differs, though meant to: {reason}\n"));
            }
            _ => {}
        }
    }

    /// A scene that could not be played to its end.
    fn broken(&mut self, name: &str, reasons: impl Iterator<Item = String>) {
        self.cases += 1;
        self.texts.push(format!("  {name}: {}\n", reasons.collect::<Vec<_>>().join("\n")));
    }

    fn report(&self) {
        let count = self.texts.len();
        assert!(
            count == 0,
            "{count} of {} cases differ from php-fpm:\n{}",
            self.cases,
            self.texts.join("\n")
        );
    }
}

/// A table of scenes, each of which starts its own servers or commands.
#[derive(Default)]
pub struct Runs {
    findings: Findings,
}

impl Runs {
    /// Runs `scene` for either side, both at the same time, and compares the texts it returns (not masked further).
    pub fn compare(
        &mut self,
        name: &str,
        differs: Option<&str>,
        scene: impl Fn(Side) -> String + Sync,
    ) -> &mut Runs {
        if selected(name) {
            let (reference, subject) = std::thread::scope(|scope| {
                let reference = scope.spawn(|| scene(Side::Reference));
                let subject = scene(Side::Subject);
                (reference.join().expect("what is done with php-fpm"), subject)
            });
            self.findings.compare(name, differs, &reference, &subject);
        }
        self
    }

    /// As [`Runs::compare`] for many scenes at the same time.
    pub(crate) fn compare_all<T: Sync>(
        &mut self,
        scenes: &[T],
        named: impl Fn(&T) -> (&str, Option<&str>),
        act: impl Fn(&T, Side) -> String + Sync,
    ) {
        let scenes: Vec<&T> = scenes.iter().filter(|scene| selected(named(scene).0)).collect();
        let records: Vec<[Result<String, String>; 2]> = std::thread::scope(|scope| {
            let begin = |scene, side| {
                let act = &act;
                scope.spawn(move || act(scene, side))
            };
            let threads: Vec<_> = scenes
                .iter()
                .map(|scene| [Side::Reference, Side::Subject].map(|side| begin(*scene, side)))
                .collect();
            threads.into_iter().map(|pair| pair.map(|thread| thread.join().map_err(panic_text))).collect()
        });
        for (scene, record) in scenes.into_iter().zip(records) {
            let (name, differs) = named(scene);
            match record {
                [Ok(reference), Ok(subject)] => self.findings.compare(name, differs, &reference, &subject),
                record => self.findings.broken(name, record.into_iter().filter_map(Result::err)),
            }
        }
    }

    /// Panics with all that differed.
    pub fn finish(&self) {
        self.findings.report();
    }
}

/// A single scene: see [`Runs::compare`].
pub fn compare_runs(name: &str, differs: Option<&str>, scene: impl Fn(Side) -> String + Sync) {
    Runs::default().compare(name, differs, scene).finish();
}

/// `CORNAC_CASE` is unset or part of the name.
fn selected(name: &str) -> bool {
    std::env::var("CORNAC_CASE").map_or(true, |wanted| name.contains(&wanted))
}

/// Whether cases that need root can run; if not, says how many are left out, visibly.
pub fn skip_unless_root(what: &str, cases: usize) -> bool {
    if !is_root() {
        say(&format!("skipped without root: {what} ({cases} cases)\n"));
    }
    !is_root()
}

fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}

/// Adds a line to the file that `CORNAC_SCENARIOS` names: test, then name of the comparison.
pub(crate) fn count(name: &str) {
    let Some(path) = std::env::var_os("CORNAC_SCENARIOS") else { return };
    let binary = std::env::current_exe().ok().and_then(|path| path.file_stem().map(|stem| stem.to_owned()));
    let theme = binary.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let theme = theme.rsplit_once('-').map_or(theme.as_str(), |(theme, _)| theme);
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("{theme}\t{test}\t{}\n", name.replace(['\n', '\t'], " "));
    let file = std::fs::File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of CORNAC_SCENARIOS");
}

/// Past the test runner's capture, which hides the output of tests that pass.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
