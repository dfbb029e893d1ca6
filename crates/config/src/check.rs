//! The checks after reading, in php-fpm's order: the global section, the error log, every pool, the access logs.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::log::{Fatal, Log, errno_suffix};
use crate::model::{bytes_path, path_bytes};
use crate::paths::{Bases, absolute, resolve};
use crate::pool_check::{Machine, check_pool};
use crate::{Config, Diagnostic, ErrorLog, Global, Host, Level, LogKind, Options, Pool};

/// Shortest `log_limit`.
const MIN_LOG_LIMIT: i32 = 512;
/// Longest path of a unix socket in bytes.
const LONGEST_SOCKET: usize = 107;
/// Default of `systemd_interval`, milliseconds.
const SYSTEMD_INTERVAL: i32 = 10_000;

/// Fills in, makes absolute and checks everything.
pub(crate) fn check(
    config: &mut Config,
    options: &Options,
    host: &dyn Host,
    log: &mut Log,
) -> Result<(), Fatal> {
    check_global(&mut config.global, options, host, log)?;
    open_error_log(&config.global, host, log)?;
    let edge_trigger = choose_mechanism(&mut config.global, log)?;
    let machine = Machine { options, host, edge_trigger };
    config.pools = check_pools(std::mem::take(&mut config.pools), &machine, log)?;
    check_access_logs(&config.pools, host, log)
}

fn check_global(global: &mut Global, options: &Options, host: &dyn Host, log: &mut Log) -> Result<(), Fatal> {
    let bases = Bases::of_state(options);
    resolve(&mut global.pid, None, &bases);
    settle_control_socket(global, options);
    global.daemonize = options.daemonize.unwrap_or(global.daemonize);
    log.threshold = global.log_level.unwrap_or(log.threshold);
    let places = &global.places;
    if global.log_limit < MIN_LOG_LIMIT {
        let place = places.get("log_limit");
        return Err(log.fatal(
            Level::Error,
            &[b"log_limit must be greater than 512"],
            place,
            "512 itself is allowed",
        ));
    }
    if global.process_max < 0 {
        let place = places.get("process.max");
        return Err(log.fatal(Level::Error, &[b"process_max can't be negative"], place, "0 means no limit"));
    }
    if global.process_priority.is_some_and(|n| !(-19..=20).contains(&n)) {
        let text = b"process.priority must be included into [-19,20]";
        return Err(log.fatal(Level::Error, &[text], places.get("process.priority"), ""));
    }
    let error_log = if places.contains_key("error_log") {
        path_bytes(&global.error_log).to_vec()
    } else {
        b"log/php-fpm.log".to_vec()
    };
    systemd(global, host, log);
    check_control_socket(global, log)?;
    global.error_log = bytes_path(&if error_log.eq_ignore_ascii_case(b"syslog") {
        error_log
    } else {
        absolute(error_log, None, &bases)
    });
    Ok(())
}

/// What is not given follows the pid file. Also for a configuration that cannot be used: commands look for the master
/// that runs.
pub(crate) fn settle_control_socket(global: &mut Global, options: &Options) {
    let bases = Bases::of_state(options);
    let is_none = |path: &PathBuf| matches!(path_bytes(path), b"" | b"none");
    if global.places.contains_key("control.socket") {
        global.control_socket = global.control_socket.take().filter(|path| !is_none(path));
        resolve(&mut global.control_socket, None, &bases);
        return;
    }
    // `pid =` is none, and php-fpm makes the prefix's folder of it.
    let is_file = |path: &PathBuf| !matches!(path_bytes(path), [] | [.., b'/']);
    let mut pid = global.pid.clone().filter(is_file);
    resolve(&mut pid, None, &bases);
    global.control_socket = pid.map(|path| bytes_path(&[path_bytes(&path), b".control"].concat()));
}

fn check_control_socket(global: &Global, log: &mut Log) -> Result<(), Fatal> {
    let Some(place) = global.places.get("control.socket") else { return Ok(()) };
    let Some(path) = global.control_path().map(path_bytes) else { return Ok(()) };
    if path.len() <= LONGEST_SOCKET {
        return Ok(());
    }
    let lengths = format!("' is too long: found length: {}, maximal length: {LONGEST_SOCKET}", path.len());
    let text = [b"control.socket '".as_slice(), path, lengths.as_bytes()];
    let hint = "name a shorter path, or 'none' for no control socket";
    Err(log.fatal(Level::Error, &text, Some(place), hint))
}

/// Half the watchdog's time goes before the configured interval.
fn systemd(global: &mut Global, host: &dyn Host, log: &mut Log) {
    let watchdog = host.env(b"WATCHDOG_USEC").map_or(0, |text| {
        let text = String::from_utf8_lossy(&text);
        let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().map_or(0, |usec| (usec / 2000) as i32)
    });
    if watchdog > 1000 {
        if global.systemd_interval > 0 {
            log.line(Level::Warning, &[b"systemd_interval option ignored"]);
        }
        let text =
            format!("systemd watchdog configured to {}sec", three_digits(f64::from(watchdog) / 1000.0));
        log.line(Level::Notice, &[text.as_bytes()]);
        global.systemd_watchdog = true;
        global.systemd_interval = watchdog;
    } else if global.systemd_interval < 0 {
        global.systemd_interval = SYSTEMD_INTERVAL;
    } else {
        global.systemd_interval = global.systemd_interval.wrapping_mul(1000);
    }
}

/// C's `%.3g` for values from 1.
fn three_digits(value: f64) -> String {
    let exponent = format!("{value:.2e}").rsplit('e').next().and_then(|e| e.parse::<i32>().ok()).unwrap_or(0);
    if exponent >= 3 {
        let text = format!("{value:.2e}");
        let mantissa = text.split('e').next().unwrap_or_default();
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        return format!("{mantissa}e+{exponent:02}");
    }
    let decimals = usize::try_from(2 - exponent).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn open_error_log(global: &Global, host: &dyn Host, log: &mut Log) -> Result<(), Fatal> {
    let opened = match global.error_log_target() {
        ErrorLog::File(path) => host.open_log(LogKind::Error, None, &path).map_err(|error| (path, error)),
        ErrorLog::Syslog => {
            host.open_syslog(&global.syslog_ident, global.syslog_facility.0);
            Ok(())
        }
    };
    opened.map_err(|(path, error)| {
        let suffix = errno_suffix(&error);
        let text = [b"failed to open error_log (", path_bytes(&path), b")", &suffix];
        log.fatal(Level::Error, &text, global.places.get("error_log"), "")
    })?;
    log.open = true;
    Ok(())
}

/// Takes over php-fpm's spelling of the mechanism; tells whether ondemand pools may use it.
fn choose_mechanism(global: &mut Global, log: &mut Log) -> Result<bool, Fatal> {
    const KNOWN: [&str; 3] = ["epoll", "poll", "select"];
    if !global.places.contains_key("events.mechanism") {
        return Ok(true);
    }
    let asked = &global.events_mechanism;
    let Some(known) = KNOWN.iter().find(|k| k.as_bytes().eq_ignore_ascii_case(asked)) else {
        let text: [&[u8]; 3] = [b"event mechanism '", asked, b"' is not available on this system"];
        let hint = "epoll, poll and select are; leave the line out for the best one";
        return Err(log.fatal(Level::Error, &text, global.places.get("events.mechanism"), hint));
    };
    global.events_mechanism = known.as_bytes().to_vec();
    Ok(*known == "epoll")
}

fn check_pools(pools: Vec<Pool>, machine: &Machine<'_>, log: &mut Log) -> Result<Vec<Pool>, Fatal> {
    if pools.is_empty() {
        let text = b"No pool defined. at least one pool section must be specified in config file";
        return Err(log.fatal(Level::Error, &[text], None, "a section named as the pool starts one: [www]"));
    }
    // Hidden status pools come behind the others and are checked like them.
    let mut all = pools;
    let mut at = 0;
    while at < all.len() {
        let status_pool = check_pool(&mut all[at], at, machine, log)?;
        all.extend(status_pool);
        at += 1;
    }
    check_addresses(&all, log)?;
    Ok(all)
}

/// Of several pairs with the same address, the one whose first pool comes first.
fn check_addresses(all: &[Pool], log: &mut Log) -> Result<(), Fatal> {
    let mut first_of = HashMap::new();
    let mut pairs = Vec::new();
    for (index, pool) in all.iter().enumerate() {
        let first = *first_of.entry(&pool.listen).or_insert(index);
        if first != index {
            pairs.push((first, index));
        }
    }
    let Some((first, second)) = pairs.into_iter().min() else { return Ok(()) };
    let (first, second) = (&all[first], &all[second]);
    let text: [&[u8]; 5] = [
        b"[pool ",
        &second.name,
        b"] unable to set listen address as it's already used in another pool '",
        &first.name,
        b"'",
    ];
    Err(log.fatal(Level::Error, &text, second.places.get("listen"), ""))
}

/// All logs are opened before the first format is looked at.
fn check_access_logs(pools: &[Pool], host: &dyn Host, log: &mut Log) -> Result<(), Fatal> {
    for pool in pools {
        let Some(path) = &pool.access_log else { continue };
        if let Err(error) = host.open_log(LogKind::Access, Some(&pool.name), path) {
            let suffix = errno_suffix(&error);
            let text = [b"failed to open access log (", path_bytes(path), b")", &suffix];
            return Err(log.fatal(Level::Error, &text, pool.places.get("access.log"), ""));
        }
    }
    for pool in pools.iter().filter(|p| p.access_log.as_ref().is_some_and(|l| !l.as_os_str().is_empty())) {
        if let Err(problem) = observe::access::Format::parse(&pool.access_format) {
            let place = pool.places.get("access.format");
            log.push(Diagnostic::new(Level::Warning, problem).at(place.cloned()));
            let text: [&[u8]; 5] =
                [b"[pool ", &pool.name, b"] wrong format for access.format '", &pool.access_format, b"'"];
            return Err(log.fatal(Level::Error, &text, place, ""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::three_digits;

    #[test]
    fn three_significant_digits() {
        for (value, expected) in
            [(1.5, "1.5"), (10.0, "10"), (15.25, "15.2"), (150.4, "150"), (1500.0, "1.5e+03")]
        {
            assert_eq!(three_digits(value), expected);
        }
    }
}
