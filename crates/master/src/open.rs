//! Everything a pool needs before its fork server starts: identity, scoreboard, log, and last its socket,
//! which is the only thing that others see and that would have to be removed if something failed after it.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use board::scoreboard::Board;
use config::{Config, Diagnostic, Level, ProcessManager};
use sys::process::Limit;
use sys::spawn::Rights;
use sys::{process, users};

use crate::identity::{self, Identity};
use crate::inheritance::Sockets;
use crate::load::{error, system_error};
use crate::log::{Log, errno_text};
use crate::pool::{Pool, shown_name};
use crate::settings::pool_settings;
use crate::socket;
use crate::socket_file::SocketFile;
use crate::spec::{self, Surroundings};
use crate::start::Parts;
use crate::{Invocation, access_log};

/// What pools are opened from.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) invocation: &'a Invocation,
    pub(crate) config: &'a Config,
    pub(crate) parts: &'a Parts,
    /// The limit of open files that pools get.
    pub(crate) inherited_files: Option<Limit>,
    /// Their addresses are bound; for a trial they are not.
    pub(crate) binds: bool,
}

/// Opens the pools at these places of the configuration. Sockets are found in `sockets`, or made and put there.
pub(crate) fn open_pools(
    opening: &Opening<'_>,
    chosen: &[usize],
    sockets: &mut Sockets,
    log: &mut Log,
) -> Result<Vec<Pool>, Diagnostic> {
    let Opening { invocation, config, parts, inherited_files, binds } = *opening;
    let each_pool = Chosen { config, chosen };
    let is_root = users::is_root();
    let allow_root = invocation.options.allow_root;
    let identities = each_pool.make(|pool| identity::resolve(pool, is_root, allow_root, log))?;
    let boards = each_pool.make(make_board)?;
    log.write(Level::Debug, format!("got clock tick '{}'", sys::clock::ticks_per_second()));
    let mut shown = each_pool.make(|pool| shown_board(pool, chosen, &boards))?.into_iter();
    let mut logs = each_pool.make(|pool| access_log::open(pool, log))?.into_iter();
    let env = |name: &[u8]| config::Host::env(&config::System, name);
    let opened = each_pool.make(|pool| match binds {
        true => socket::open(pool, sockets, log),
        false => socket::stand_in(),
    })?;
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
    let members = chosen.iter().zip(identities).zip(boards).zip(opened);
    let pools = members.map(|(((index, identity), (board_fd, board)), socket)| {
        let (pool, executable) = (&config.pools[*index], &parts.executables[*index]);
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
            file: SocketFile::of(&socket.fd),
            socket,
            board_fd,
            board,
            shown_board: shown.next().flatten(),
            access_log: logs.next().flatten(),
            queue_unknown: false,
            wake: None,
            warnings: Vec::new(),
            mailbox: Default::default(),
            server: None,
            tracing: Default::default(),
            workers: Default::default(),
        }
    });
    Ok(pools.collect())
}

struct Chosen<'a> {
    config: &'a Config,
    chosen: &'a [usize],
}

impl Chosen<'_> {
    fn make<T>(
        &self,
        mut make: impl FnMut(&config::Pool) -> Result<T, Diagnostic>,
    ) -> Result<Vec<T>, Diagnostic> {
        self.chosen.iter().map(|index| make(&self.config.pools[*index])).collect()
    }
}

/// Rights to take before exec, unless PHP's start-up runs as root and the engine takes them.
fn rights(identity: Identity, described: &board::PoolSpec) -> Option<Rights> {
    let board::message::Identity { uid, gid, groups } =
        identity.rights.filter(|_| described.identity.is_none())?;
    Some(Rights { uid, gid, groups, keep_chroot: described.chroot.is_some() })
}

/// The scoreboard of the pool whose status page this one serves.
fn shown_board(
    pool: &config::Pool,
    chosen: &[usize],
    boards: &[(OwnedFd, Board)],
) -> Result<Option<OwnedFd>, Diagnostic> {
    let place = pool.status_of.and_then(|shown| chosen.iter().position(|index| *index == shown));
    let shown = place.and_then(|place| boards.get(place));
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
