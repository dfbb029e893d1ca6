//! `cornac check`: besides what `-t` looks at, all that a start would stumble over. Gathers every finding rather than the
//! first. Binds, executes and removes nothing; only logs are created, as by `-t`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use config::{Config, Diagnostic, Level, Listen, Pool};
use sys::{listener, users};

use crate::build_id::Build;
use crate::load::{self, error};
use crate::log::{Log, errno_text};
use crate::{Invocation, build_id, exit_code, identity, php, start};

/// Says whether the configuration can be started from, and with `dump` shows it. Returns the exit code.
pub fn examine(invocation: &Invocation, dump: bool) -> u8 {
    let mut log = Log::default();
    log.explain(invocation.explain);
    if let Err(code) = start::settle_streams(&mut log) {
        return code;
    }
    let Some(config) = load::load(invocation, &mut log) else { return exit_code::CONFIGURATION };
    let findings = findings(&config, invocation, &mut log);
    findings.iter().for_each(|finding| log.diagnose(finding));
    if findings.iter().any(is_error) {
        log.write(Level::Error, "FPM initialization failed");
        return exit_code::CONFIGURATION;
    }
    load::conclude(invocation, &config, dump, &mut log);
    exit_code::OK
}

/// The configuration as it is now, if a start from it would stumble over nothing.
pub(crate) fn look_over(invocation: &Invocation) -> Result<(load::Read, Config), Vec<Diagnostic>> {
    let read = load::read(invocation);
    let mut quiet = load::quiet_log();
    let (config, findings) = match read.config() {
        Some(config) => (Some(config.clone()), findings(config, invocation, &mut quiet)),
        None => (None, read.diagnostics().to_vec()),
    };
    // Nothing has failed to begin, so that line is left out.
    let failed = |finding: &Diagnostic| finding.text == b"FPM initialization failed";
    let is_problem = |finding: &Diagnostic| is_error(finding) && !failed(finding);
    let problems: Vec<_> = findings.into_iter().filter(is_problem).collect();
    match config {
        Some(config) if problems.is_empty() => Ok((read, config)),
        _ => Err(problems),
    }
}

/// What a start would stumble over, and what is merely doubtful.
pub(crate) fn findings(config: &Config, invocation: &Invocation, log: &mut Log) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    config.pools.iter().for_each(|pool| findings.extend(pool_findings(pool, invocation, log)));
    findings.extend(php_findings(config));
    findings.extend(pid_finding(config));
    findings
}

/// A start would fail.
pub(crate) fn is_error(finding: &Diagnostic) -> bool {
    finding.level.is_none_or(|level| level >= Level::Error)
}

/// With the directive's place.
fn at(pool: &Pool, directive: &str, finding: Diagnostic) -> Diagnostic {
    finding.at(pool.places.get(directive).cloned())
}

fn pool_findings(pool: &Pool, invocation: &Invocation, log: &mut Log) -> Vec<Diagnostic> {
    let allow_root = invocation.options.allow_root;
    let identity = match users::is_root() {
        true => identity::resolve(pool, true, allow_root, log).map(drop),
        false => identity::check_names(pool),
    };
    let mut findings = Vec::new();
    findings.extend(identity.err().map(|finding| at_name(pool, ["user", "group"], finding)));
    findings.extend(address_finding(pool, log).err());
    findings.extend(doubtful_mode(pool));
    findings.extend(doubtful_clients(pool));
    findings
}

/// At the first or the second directive: a name of a user or of a group was not found.
fn at_name(pool: &Pool, [user, group]: [&str; 2], finding: Diagnostic) -> Diagnostic {
    let is_group = String::from_utf8_lossy(&finding.text).contains("cannot get gid");
    at(pool, if is_group { group } else { user }, finding)
}

fn address_finding(pool: &Pool, log: &mut Log) -> Result<(), Diagnostic> {
    let here = |finding| at(pool, "listen", finding);
    match Listen::parse(&pool.listen).map_err(here)? {
        Listen::Port(_) => Ok(()),
        Listen::Tcp { host, port } => {
            let host = String::from_utf8_lossy(&host);
            listener::resolve(&host, port).map(drop).map_err(|reason| {
                here(error(format!("[pool {}] cannot resolve listen '{host}': {reason}", name(pool))))
            })
        }
        Listen::Unix(path) => {
            let has_list = pool.listen_acl_users.is_some() || pool.listen_acl_groups.is_some();
            let list = ["listen.acl_users", "listen.acl_groups"];
            let names = if has_list { list } else { ["listen.owner", "listen.group"] };
            identity::socket_access(pool, log).map_err(|finding| at_name(pool, names, finding))?;
            socket_path(pool, &path).map_err(here)
        }
    }
}

fn socket_path(pool: &Pool, path: &Path) -> Result<(), Diagnostic> {
    let (shown, length) = (path.display(), path.as_os_str().len());
    if length > listener::LONGEST_PATH {
        let lengths = format!("found length: {length}, maximal length: {}", listener::LONGEST_PATH);
        let text = "as path is too long";
        return Err(error(format!(
            "[pool {}] cannot bind to UNIX socket '{shown}' {text} ({lengths})",
            name(pool)
        )));
    }
    folder_of(path).map_err(|problem| {
        error(format!("[pool {}] the folder of the socket '{shown}' {problem}", name(pool)))
            .hint("create it before the start, or let the service manager do so")
    })
}

/// What is wrong with the folder a file shall be made in.
fn folder_of(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err("is not a folder".into()),
        Err(source) => Err(format!("cannot be used: {}", errno_text(&source))),
    }
}

/// php-fpm takes the octal digits at the start, be there any or not.
fn doubtful_mode(pool: &Pool) -> Option<Diagnostic> {
    let mode = pool.listen_mode.as_deref().filter(|mode| !mode.iter().all(|b| (b'0'..=b'7').contains(b)))?;
    let (mode, used) = (String::from_utf8_lossy(mode), pool.socket_mode());
    let text =
        format!("[pool {}] listen.mode '{mode}' is not an octal number; {used:04o} is used", name(pool));
    Some(at(pool, "listen.mode", warning(text)))
}

/// Found by each worker only; if no address is right, everybody is refused.
fn doubtful_clients(pool: &Pool) -> Option<Diagnostic> {
    let clients = String::from_utf8_lossy(pool.listen_allowed_clients.as_deref()?);
    let wrong = clients.split(',').find(|client| !client.is_empty() && client.parse::<IpAddr>().is_err())?;
    let text = format!("[pool {}] Wrong IP address '{wrong}' in listen.allowed_clients", name(pool));
    let hint = "addresses are separated by commas, without blanks, names or networks";
    Some(at(pool, "listen.allowed_clients", warning(text)).hint(hint))
}

fn warning(text: String) -> Diagnostic {
    Diagnostic { logged: true, ..Diagnostic::new(Level::Warning, text) }
}

/// The engine, and for each executable whether it is there and of the engine's build.
fn php_findings(config: &Config) -> Vec<Diagnostic> {
    let engine = match php::find_engine() {
        Ok(engine) => engine,
        Err(finding) => return vec![finding],
    };
    let mut looked_at: BTreeMap<Option<PathBuf>, ()> = BTreeMap::new();
    let mut findings = Vec::new();
    for pool in &config.pools {
        let configured = pool.php_binary.clone().or(config.global.php_binary.clone());
        if looked_at.insert(configured.clone(), ()).is_some() {
            continue;
        }
        let place = pool.places.get("php.binary").or(config.global.places.get("php.binary"));
        let executable = php::find_executable(configured.as_deref());
        let outcome = executable.and_then(|executable| fits(&executable, &engine));
        findings.extend(outcome.err().map(|finding| finding.at(place.cloned())));
    }
    findings
}

/// Refuses what is no PHP, or another one than the engine was built for. Of an executable whose PHP is a library, only
/// the loaded engine can tell.
fn fits(executable: &Path, engine: &Path) -> Result<(), Diagnostic> {
    let shown = executable.display();
    let unreadable = |source| error(format!("{shown} cannot be read: {}", errno_text(&source)));
    let hint = "php.binary has to name a PHP of the version the engine was built for";
    match (build_id::of(executable).map_err(unreadable)?, build_id::of(engine)) {
        (Build::Id(found), Ok(Build::Id(needed))) if found != needed => {
            Err(error(format!("{shown} is a PHP of build {found}; the engine is for {needed}")).hint(hint))
        }
        (Build::None, _) => Err(error(format!("{shown} is no PHP executable")).hint(hint)),
        _ => Ok(()),
    }
}

fn pid_finding(config: &Config) -> Option<Diagnostic> {
    let path = config.global.pid.as_deref().filter(|path| !path.as_os_str().is_empty())?;
    let problem = folder_of(path).err()?;
    let text = format!("the folder of the PID file ({}) {problem}", path.display());
    Some(error(text).at(config.global.places.get("pid").cloned()))
}

fn name(pool: &Pool) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&pool.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(listen: &str) -> Pool {
        Pool { name: b"p".to_vec(), listen: listen.into(), ..Pool::default() }
    }

    fn check(pool: &Pool, expected: &str) {
        let invocation = Invocation {
            options: config::Options { allow_root: true, ..Default::default() },
            ..Default::default()
        };
        let findings = pool_findings(pool, &invocation, &mut Log::default());
        let texts: Vec<_> = findings.iter().map(|f| String::from_utf8_lossy(&f.text)).collect();
        assert_eq!(texts.join("\n"), expected);
    }

    #[test]
    fn addresses() {
        check(&pool("/tmp/x.sock"), "");
        check(&pool("9000"), "");
        check(&pool("127.0.0.1:9000"), "");
        check(&pool("127.0.0.1:99999"), "invalid port value '99999'");
        let missing =
            "[pool p] the folder of the socket '/none/such/x' cannot be used: No such file or directory (2)";
        check(&pool("/none/such/x"), missing);
        check(&pool("/dev/null/x"), "[pool p] the folder of the socket '/dev/null/x' is not a folder");
        let long = format!("/tmp/{}", "x".repeat(103));
        let text = "as path is too long (found length: 108, maximal length: 107)";
        check(&pool(&long), &format!("[pool p] cannot bind to UNIX socket '{long}' {text}"));
    }

    #[test]
    fn access() {
        let with = |change: fn(&mut Pool)| {
            let mut pool = pool("/tmp/x.sock");
            change(&mut pool);
            pool
        };
        let acl = "[pool p] cannot get uid for user 'no-such-user': Success (0)";
        check(&with(|p| p.listen_acl_users = Some(b"root,no-such-user".to_vec())), acl);
        let mode = "[pool p] listen.mode '0x66' is not an octal number; 0000 is used";
        check(&with(|p| p.listen_mode = Some(b"0x66".to_vec())), mode);
        check(&with(|p| p.listen_mode = Some(b"0666".to_vec())), "");
        let clients = "[pool p] Wrong IP address ' ::1' in listen.allowed_clients";
        check(&with(|p| p.listen_allowed_clients = Some(b"127.0.0.1, ::1".to_vec())), clients);
        check(&with(|p| p.listen_allowed_clients = Some(b"127.0.0.1,::1".to_vec())), "");
    }

    #[test]
    fn builds() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let engine = file("engine", "\0API20220829,NTS\0");
        assert!(fits(&file("php", "API20220829,NTS\0"), &engine).is_ok());
        assert!(fits(&file("linked", "libphp.so\0"), &engine).is_ok());
        assert!(
            fits(&file("sh", "\x7fELF"), &engine).unwrap_err().text.ends_with(b"sh is no PHP executable")
        );
        let refused = fits(&file("other", "API20230831,NTS\0"), &engine).unwrap_err();
        assert!(
            refused.text.ends_with(b"is a PHP of build API20230831,NTS; the engine is for API20220829,NTS")
        );
    }
}
