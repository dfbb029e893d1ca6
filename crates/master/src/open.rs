//! Everything a pool needs before its fork server starts: identity, scoreboard, log, and last its socket,
//! which is the only thing that others see and that would have to be removed if something failed after it.

use std::os::fd::{OwnedFd, RawFd};
use std::time::SystemTime;

use board::scoreboard::Board;
use config::{Config, Diagnostic, Level, ProcessManager};
use plan::Pools;
use sys::spawn::Rights;
use sys::{process, users};

use crate::identity::{self, Identity};
use crate::inheritance::Sockets;
use crate::load::{error, system_error};
use crate::log::{Log, errno_text};
use crate::pool::{Pool, shown_name};
use crate::settings::pool_settings;
use crate::socket::{self, Socket};
use crate::spec::{self, Surroundings};
use crate::start::Parts;
use crate::{Invocation, access_log};

/// Opens all pools; no socket of ours stays if one fails.
pub(crate) fn open_pools(
    invocation: &Invocation,
    config: &Config,
    parts: &Parts,
    own: &[RawFd],
    log: &mut Log,
) -> Result<(Pools<Pool>, Sockets), Diagnostic> {
    // A pool takes at least two descriptors of ours, a worker whose output is caught three; where the limit cannot be
    // raised, it stays.
    let inherited_files = process::raise_file_limit().ok();
    let is_root = users::is_root();
    let allow_root = invocation.options.allow_root;
    let identities = each(config, |pool| identity::resolve(pool, is_root, allow_root, log))?;
    let boards = each(config, make_board)?;
    log.write(Level::Debug, format!("got clock tick '{}'", sys::clock::ticks_per_second()));
    let mut shown = each(config, |pool| shown_board(pool, &boards))?.into_iter();
    let mut logs = each(config, |pool| access_log::open(pool, log))?.into_iter();
    let env = |name: &[u8]| config::Host::env(&config::System, name);
    let mut inherited = Sockets::inherit(&env, own, log);
    let sockets = open_sockets(config, &mut inherited, log)?;
    log.write(Level::Debug, event_module(config));
    let process_name = process::name();
    let around = Surroundings {
        global: &config.global,
        php: &invocation.php,
        is_root,
        master_pid: std::process::id(),
        process_name: &process_name,
        env: &env,
    };
    let members = config.pools.iter().zip(identities).zip(boards).zip(sockets).zip(&parts.executables);
    let pools = members.map(|((((pool, identity), (board_fd, board)), socket), executable)| {
        let described = spec::describe(pool, &identity, socket.is_tcp(), &around);
        Pool {
            name: shown_name(&pool.name),
            spec: board::message::encode(&described),
            user: identity.rights.as_ref().map_or_else(users::own_id, |rights| rights.uid),
            rights: rights(identity, &described),
            executable: executable.clone(),
            inherited_files,
            nice: pool.process_priority.filter(|_| is_root),
            config: pool.clone(),
            socket,
            board_fd,
            board,
            shown_board: shown.next().flatten(),
            access_log: logs.next().flatten(),
            queue_unknown: false,
            wake: None,
            server: None,
            tracing: Default::default(),
            workers: Default::default(),
        }
    });
    Ok((pools.collect(), inherited))
}

fn each<T>(
    config: &Config,
    make: impl FnMut(&config::Pool) -> Result<T, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    config.pools.iter().map(make).collect()
}

/// Rights to take before exec, unless PHP's start-up runs as root and the engine takes them.
fn rights(identity: Identity, described: &board::PoolSpec) -> Option<Rights> {
    let board::message::Identity { uid, gid, groups } =
        identity.rights.filter(|_| described.identity.is_none())?;
    Some(Rights { uid, gid, groups, keep_chroot: described.chroot.is_some() })
}

/// The scoreboard of the pool whose status page this one serves.
fn shown_board(pool: &config::Pool, boards: &[(OwnedFd, Board)]) -> Result<Option<OwnedFd>, Diagnostic> {
    let shown = pool.status_of.and_then(|index| boards.get(index));
    let copy = shown.map(|(fd, _)| fd.try_clone()).transpose();
    copy.map_err(|source| system_error("dup", &source))
}

/// What php-fpm says of its event loop: one descriptor for signals, two for each worker whose output is caught.
fn event_module(config: &Config) -> String {
    let caught = config.pools.iter().filter(|pool| pool.catch_workers_output);
    let workers: i64 = caught.map(|pool| i64::from(pool.pm_max_children.max(0))).sum();
    let name = String::from_utf8_lossy(&config.global.events_mechanism);
    format!("event module is {name} and {} fds have been reserved", 1 + 2 * workers)
}

fn make_board(pool: &config::Pool) -> Result<(OwnedFd, Board), Diagnostic> {
    let kind = match pool.pm {
        ProcessManager::Static => 0,
        ProcessManager::Dynamic => 1,
        ProcessManager::Ondemand => 2,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let slots = pool_settings(pool).slots() as usize;
    Board::create(&pool.name, kind, slots, now.as_secs()).map_err(|source| {
        error(format!(
            "[pool {}] unable to allocate shared memory: {}",
            shown_name(&pool.name),
            errno_text(&source)
        ))
    })
}

fn open_sockets(config: &Config, sockets: &mut Sockets, log: &mut Log) -> Result<Vec<Socket>, Diagnostic> {
    let opened = each(config, |pool| socket::open(pool, sockets, log));
    match &opened {
        Ok(_) => sockets.close_unused(),
        Err(_) => sockets.unlink(),
    }
    opened
}
