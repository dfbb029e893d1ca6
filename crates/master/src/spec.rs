//! From a pool's configuration to the description its fork server starts from.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use board::message::{AccessLog, IniEntry, PhpOptions, Ping, PoolSpec};
use config::{Global, Level, Pool, ProcessManager, StartupUser};

use crate::identity::Identity;

/// What the description needs besides the pool's configuration.
pub(crate) struct Surroundings<'a> {
    pub(crate) global: &'a Global,
    pub(crate) php: &'a PhpOptions,
    pub(crate) is_root: bool,
    pub(crate) master_pid: u32,
    /// What the kernel calls the master: the last part of the path it was started by.
    pub(crate) process_name: &'a [u8],
    pub(crate) env: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

/// Describes the pool.
pub(crate) fn describe(pool: &Pool, identity: &Identity, tcp: bool, around: &Surroundings<'_>) -> PoolSpec {
    let as_root = pool.php_startup_user == StartupUser::Root;
    PoolSpec {
        pool: pool.name.clone(),
        master_pid: around.master_pid,
        process_name: around.process_name.to_vec(),
        php: around.php.clone(),
        ini: ini(pool),
        clear_env: pool.clear_env,
        env: environment(pool, identity, around.env),
        chroot: folder(pool.chroot.as_deref()).filter(|_| around.is_root),
        apparmor_hat: pool.apparmor_hat.clone(),
        chdir: folder(pool.chdir.as_deref()),
        identity: identity.rights.clone().filter(|_| as_root),
        dumpable: dumpable(pool, identity),
        max_requests: u64::try_from(pool.pm_max_requests).unwrap_or(0),
        limit_extensions: pool.extensions().map(<[u8]>::to_vec).collect(),
        allowed_clients: allowed_clients(pool).filter(|_| tcp),
        tcp,
        capture_output: pool.catch_workers_output,
        read_timeout_ms: pool.request_read_timeout.duration().map_or(0, |time| time.as_millis() as u64),
        access_log: access_log(pool),
        status_path: pool.pm_status_path.clone(),
        shows_other_board: pool.status_of.is_some(),
        ping: ping(pool),
        log_limit: u32::try_from(around.global.log_limit).unwrap_or(0),
        wakes: pool.pm != ProcessManager::Static,
        log_level: around.global.log_level.unwrap_or(Level::Notice).number(),
    }
}

fn access_log(pool: &Pool) -> Option<AccessLog> {
    pool.access_log.as_ref().map(|_| AccessLog {
        format: pool.access_format.clone(),
        suppressed: pool.access_suppress_path.clone(),
    })
}

fn ping(pool: &Pool) -> Option<Ping> {
    Some(Ping { path: pool.ping_path.clone()?, response: pool.ping_response.clone()? })
}

/// Whoever changes user or group is no longer dumpable, unless `process.dumpable` says so; as with php-fpm, who changes
/// neither stays as it is.
fn dumpable(pool: &Pool, identity: &Identity) -> bool {
    let unchanged = identity.rights.as_ref().is_none_or(|rights| (rights.uid, rights.gid) == (0, 0));
    pool.process_dumpable || unchanged
}

fn ini(pool: &Pool) -> Vec<IniEntry> {
    let lists = [(&pool.php_values, false), (&pool.php_admin_values, true)];
    let entries = lists.into_iter().flat_map(|(list, admin)| list.iter().map(move |entry| (entry, admin)));
    entries
        .map(|(entry, admin)| IniEntry { name: entry.key.clone(), value: entry.value.clone(), admin })
        .collect()
}

/// The `env[…]` lines with `$NAME` replaced from our own environment, in php-fpm's order, which is the file's reversed
/// (so the first of two lines for one name wins), then USER and HOME.
fn environment(
    pool: &Pool,
    identity: &Identity,
    ours: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let resolved = |entry: &config::EnvEntry| match entry.source() {
        Some(name) => ours(name).unwrap_or_default(),
        None => entry.value.clone(),
    };
    let mut variables: Vec<_> =
        pool.env.iter().rev().map(|entry| (entry.name.clone(), resolved(entry))).collect();
    for (name, value) in [(b"USER", &identity.name), (b"HOME", &identity.home)] {
        let set = pool.env.iter().any(|entry| entry.name == name);
        if let Some(value) = value.as_ref().filter(|_| !set) {
            variables.push((name.to_vec(), value.clone()));
        }
    }
    variables
}

/// Blanks stay: php-fpm, too, takes them for a part of the address, and refuses it.
fn allowed_clients(pool: &Pool) -> Option<Vec<Vec<u8>>> {
    let text = pool.listen_allowed_clients.as_deref().filter(|text| !text.is_empty())?;
    let names = text.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    Some(names.map(<[u8]>::to_vec).collect())
}

fn folder(path: Option<&Path>) -> Option<Vec<u8>> {
    path.map(|path| path.as_os_str().as_bytes().to_vec()).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{EnvEntry, PhpValue, Seconds};

    fn around<'a>(global: &'a Global, php: &'a PhpOptions, is_root: bool) -> Surroundings<'a> {
        let env = &|name: &[u8]| (name == b"SET").then(|| b"ours".to_vec());
        Surroundings { global, php, is_root, master_pid: 7, process_name: b"php-fpm", env }
    }

    fn value(key: &str, value: &str) -> PhpValue {
        PhpValue { key: key.into(), value: value.into() }
    }

    #[test]
    fn a_pool_is_described_as_its_file_has_it() {
        let variable = |name: &str, value: &str| EnvEntry { name: name.into(), value: value.into() };
        let pool = Pool {
            name: b"www".to_vec(),
            chroot: Some("/srv".into()),
            env: vec![variable("A", "$SET"), variable("B", "$UNSET"), variable("HOME", "/x")],
            php_values: vec![value("a", "1"), value("b", "2")],
            php_admin_values: vec![value("c", "3")],
            listen_allowed_clients: Some(b"127.0.0.1,, ::1,".to_vec()),
            security_limit_extensions: b".php .phar".to_vec(),
            pm_max_requests: -1,
            request_read_timeout: Seconds(60),
            ..Pool::default()
        };
        let identity =
            Identity { rights: None, name: Some(b"joe".to_vec()), home: Some(b"/home/joe".to_vec()) };
        let (global, php) = (Global::default(), PhpOptions::default());
        let spec = describe(&pool, &identity, true, &around(&global, &php, true));
        let pairs: Vec<(&[u8], &[u8])> = spec.env.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        assert_eq!(pairs, [(&b"HOME"[..], &b"/x"[..]), (b"B", b""), (b"A", b"ours"), (b"USER", b"joe")]);
        let ini: Vec<(&[u8], bool)> = spec.ini.iter().map(|e| (e.name.as_slice(), e.admin)).collect();
        assert_eq!(ini, [(&b"a"[..], false), (b"b", false), (b"c", true)]);
        assert_eq!(spec.allowed_clients, Some(vec![b"127.0.0.1".to_vec(), b" ::1".to_vec()]));
        assert_eq!(spec.limit_extensions, [b".php".to_vec(), b".phar".to_vec()]);
        assert_eq!((spec.max_requests, spec.read_timeout_ms, spec.log_level), (0, 60_000, 2));
        assert_eq!(spec.chroot.as_deref(), Some(b"/srv".as_slice()));
        let unix = describe(&pool, &identity, false, &around(&global, &php, false));
        assert_eq!((unix.allowed_clients, unix.chroot), (None, None));
    }

    #[test]
    fn pages_and_access_log_are_described_where_there_are_some() {
        let (global, php) = (Global::default(), PhpOptions::default());
        let mut pool = Pool { access_format: b"%m".to_vec(), ..Pool::default() };
        let described =
            |pool: &Pool| describe(pool, &Identity::default(), false, &around(&global, &php, false));
        let none = described(&pool);
        assert_eq!((none.access_log, none.status_path, none.ping), (None, None, None));
        assert!(!none.shows_other_board);
        pool.access_log = Some("/log".into());
        pool.access_suppress_path = vec![b"/p".to_vec()];
        (pool.ping_path, pool.ping_response) = (Some(b"/ping".to_vec()), Some(b"pong".to_vec()));
        (pool.pm_status_path, pool.status_of) = (Some(b"/".to_vec()), Some(0));
        let all = described(&pool);
        let log = AccessLog { format: b"%m".to_vec(), suppressed: vec![b"/p".to_vec()] };
        assert_eq!(all.access_log, Some(log));
        assert_eq!(all.ping, Some(Ping { path: b"/ping".to_vec(), response: b"pong".to_vec() }));
        assert_eq!((all.status_path.as_deref(), all.shows_other_board), (Some(b"/".as_slice()), true));
    }

    #[test]
    fn only_a_change_of_user_makes_undumpable() {
        let rights = |uid, gid| Some(board::message::Identity { uid, gid, groups: vec![] });
        for (rights, yes, expected) in [
            (rights(33, 33), false, false),
            (rights(0, 33), false, false),
            (rights(33, 33), true, true),
            (rights(0, 0), false, true),
            (None, false, true),
        ] {
            let pool = Pool { process_dumpable: yes, ..Pool::default() };
            let identity = Identity { rights, ..Identity::default() };
            assert_eq!(dumpable(&pool, &identity), expected, "{:?}", identity.rights);
        }
    }

    #[test]
    fn rights_are_taken_in_the_engine_only_for_a_start_as_root() {
        let rights = board::message::Identity { uid: 5, gid: 6, groups: vec![6] };
        let identity = Identity { rights: Some(rights.clone()), ..Identity::default() };
        let (global, php) = (Global::default(), PhpOptions::default());
        let mut pool = Pool::default();
        assert_eq!(describe(&pool, &identity, false, &around(&global, &php, true)).identity, None);
        pool.php_startup_user = StartupUser::Root;
        assert_eq!(describe(&pool, &identity, false, &around(&global, &php, true)).identity, Some(rights));
    }
}
