//! Each small configuration goes through `php-fpm8.2 -tt` and through this crate; every line and the exit status must
//! be the same. Skipped, with a message, where php-fpm8.2 is not installed.

mod live_cases;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use config::{Config, Diagnostic, GlobError, Host, Level, Loaded, LogKind, Options, System};

const PHP_FPM: &str = "/usr/sbin/php-fpm8.2";
const ENVIRONMENT: [(&str, &str); 4] =
    [("PATH", "/usr/bin:/bin"), ("GREETING", "hallo"), ("SWITCH", "yes"), ("EMPTY", "")];

/// The machine with a fixed environment; logs are opened as php-fpm opens them.
struct Machine;

impl Host for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        System.read(path)
    }
    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
        System.glob(pattern)
    }
    fn is_directory(&self, path: &Path) -> bool {
        System.is_directory(path)
    }
    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        let all = BTreeMap::from(ENVIRONMENT);
        all.get(std::str::from_utf8(name).ok()?).map(|value| value.as_bytes().to_vec())
    }
    fn open_log(&self, _kind: LogKind, _pool: Option<&[u8]>, path: &Path) -> io::Result<()> {
        fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
    }
}

/// One configuration: files by name (the first is the main one), arguments before `-tt`.
struct Case {
    files: Vec<(&'static str, Vec<u8>)>,
    arguments: Vec<&'static str>,
}

#[test]
#[allow(clippy::print_stdout)] // says when it was skipped
fn same_lines_and_status_as_php_fpm() {
    if !Path::new(PHP_FPM).exists() {
        println!("skipped: {PHP_FPM} is not installed");
        return;
    }
    let cases = live_cases::all();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let different: Vec<String> = cases.iter().filter_map(difference).collect();
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), cases.len(), different.join("\n"));
    println!("{} configurations compared", cases.len());
}

/// The distribution's own configuration, where it is installed, loads.
#[test]
fn the_packaged_configuration_loads() {
    let main = Path::new("/etc/php/8.2/fpm/php-fpm.conf");
    if !main.exists() {
        return;
    }
    let loaded = config::load(main, &Options { is_root: true, ..Options::default() }, &System);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    assert!(!config.pools.is_empty() && config.pools.iter().all(|pool| !pool.listen.is_empty()));
}

/// Lines put together at random from what matters to the scanner; more of them with `RANDOM_LINES=n`.
#[test]
fn same_lines_for_random_text() {
    if !Path::new(PHP_FPM).exists() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let mut random = number("RANDOM_SEED").unwrap_or(1);
    let count = number("RANDOM_LINES").unwrap_or(100);
    let different: Vec<String> =
        (0..count).filter_map(|_| difference(&live_cases::random(&mut random))).take(20).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// `None` when both agree.
fn difference(case: &Case) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for (name, text) in &case.files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, replace(text, b"{D}", root.as_bytes())).unwrap();
    }
    for inner in ["dir/inner", "dir/log"] {
        fs::create_dir_all(folder.path().join(inner)).unwrap();
    }
    let main = folder.path().join(case.files[0].0);
    let arguments: Vec<String> = case.arguments.iter().map(|a| a.replace("{D}", root)).collect();
    let theirs = php_fpm(&main, &arguments);
    let ours = ours(&main, &arguments);
    if ours == theirs {
        return None;
    }
    let text = String::from_utf8_lossy(&case.files[0].1).into_owned();
    let only = |left: &str, right: &str| {
        let right: Vec<&str> = right.lines().collect();
        left.lines().filter(|line| !right.contains(line)).collect::<Vec<_>>().join("\n")
    };
    let (left, right) = (only(&theirs.1, &ours.1), only(&ours.1, &theirs.1));
    Some(format!("--- {text}\n=== only php-fpm ({})\n{left}\n=== only here ({})\n{right}", theirs.0, ours.0))
}

fn php_fpm(main: &Path, arguments: &[String]) -> (i32, String) {
    let output = Command::new(PHP_FPM)
        .args(["-n", "-tt", "-y"])
        .arg(main)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let lines = output.stderr.split(|b| *b == b'\n').map(without_time);
    // The last piece is what follows the final newline: nothing. Users are looked up after the configuration.
    let lines: Vec<String> =
        lines.filter(|l| !l.contains("directive is ignored when FPM is not running")).collect();
    (output.status.code().unwrap_or(-1), lines.join("\n").trim_end_matches('\n').to_owned())
}

fn without_time(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line).into_owned();
    match line.split_once("] ") {
        Some((time, rest)) if time.len() == 21 && time.starts_with('[') => rest.to_owned(),
        // With the system log open, the same lines have another shape. That is the log writer's business.
        Some(("[NOTICE", rest)) => format!("NOTICE: {rest}"),
        _ => line,
    }
}

fn ours(main: &Path, arguments: &[String]) -> (i32, String) {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut options = Options { is_root, ..Options::default() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-p" => options.prefix = arguments.next().map(PathBuf::from),
            "-g" => options.pid = arguments.next().map(PathBuf::from),
            "-F" => options.daemonize = Some(false),
            "-R" => options.allow_root = true,
            other => panic!("{other}"),
        }
    }
    let Loaded { config, diagnostics, .. } = config::load(main, &options, &Machine);
    let mut lines: Vec<String> = diagnostics.iter().map(shown).collect();
    if let Some(config) = &config
        && config.global.log_level.is_none_or(|level| level <= Level::Notice)
    {
        lines.extend(tested(config, main));
    }
    (if config.is_some() { 0 } else { 78 }, lines.join("\n"))
}

fn tested(config: &Config, main: &Path) -> Vec<String> {
    let notice = |line: &[u8]| format!("NOTICE: {}", String::from_utf8_lossy(line));
    let mut lines: Vec<String> = config::dump(config).iter().map(|line| notice(line)).collect();
    let name = main.as_os_str().as_bytes();
    lines.push(notice(&[b"configuration file ", name, b" test is successful"].concat()));
    lines
}

fn shown(diagnostic: &Diagnostic) -> String {
    let text = String::from_utf8_lossy(&diagnostic.text);
    match diagnostic.level {
        Some(level) => format!("{}: {text}", level.word()),
        None => text.into_owned(),
    }
}

fn replace(text: &[u8], token: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(token.len()).position(|w| w == token) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + token.len()..];
    }
    out.extend_from_slice(rest);
    out
}
