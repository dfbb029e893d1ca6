//! Who a pool runs as, in php-fpm's rules and words (its sections on `user`, `group`, `listen.owner` and so on).
//! Group lists are made here, in the master, also for users given by number.

use std::io;

use config::{Diagnostic, Level, Pool};
use sys::acl::Acl;
use sys::listener::Access;
use sys::users::{self, Account};

use crate::load::error;
use crate::log::{Log, printable};

/// The user a pool's processes run as.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Identity {
    /// Rights to take on; `None` = stay what the master is.
    pub(crate) rights: Option<board::message::Identity>,
    /// `USER` for the scripts.
    pub(crate) name: Option<Vec<u8>>,
    /// `HOME` for the scripts.
    pub(crate) home: Option<Vec<u8>>,
}

fn given(value: &Option<Vec<u8>>) -> Option<&[u8]> {
    value.as_deref().filter(|text| !text.is_empty())
}

/// `[pool www] `, readable whatever the name's bytes are.
fn pool_tag(pool: &Pool) -> String {
    format!("[pool {}] ", String::from_utf8_lossy(&pool.name))
}

/// Finds out who the pool runs as. As root: the configured user, else root itself. Else: us, and what only root
/// could do is named.
pub(crate) fn resolve(
    pool: &Pool,
    is_root: bool,
    allow_root: bool,
    log: &mut Log,
) -> Result<Identity, Diagnostic> {
    if !is_root {
        note_ignored(pool, log);
        let own = users::user_by_id(users::own_uid()).unwrap_or(nobody());
        return Ok(Identity { rights: None, name: own.name, home: own.home });
    }
    let (account, group) = look_up(pool)?;
    let uid = account.as_ref().map_or(0, |account| account.uid);
    let gid = group.or(account.as_ref().and_then(|account| account.gid)).unwrap_or(0);
    if !allow_root && (uid == 0 || gid == 0) {
        return Err(error(format!("{}please specify user and group other than root", pool_tag(pool))));
    }
    let named = given(&pool.user).is_some_and(|user| !users::is_number(user));
    let (name, home) = match &account {
        Some(account) if named => (account.name.clone(), account.home.clone()),
        _ => (None, None),
    };
    if account.is_none() && group.is_none() {
        return Ok(Identity { rights: None, name, home });
    }
    // Root keeps the groups it has, as with php-fpm.
    let groups = match &account {
        Some(account) if uid != 0 => users::groups_of(account, gid),
        _ => users::own_groups(),
    };
    let groups = groups.map_err(|source| {
        crate::load::system_error(format!("{}cannot list the groups of uid {uid}", pool_tag(pool)), &source)
    })?;
    let rights = board::message::Identity { uid, gid, groups };
    Ok(Identity { rights: Some(rights), name, home })
}

fn nobody() -> Account {
    Account { uid: users::own_uid(), gid: None, name: None, home: None }
}

fn note_ignored(pool: &Pool, log: &mut Log) {
    let chroot = pool.chroot.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    let directives = [
        ("user", given(&pool.user).is_some()),
        ("group", given(&pool.group).is_some()),
        ("chroot", chroot),
        ("process.priority", pool.process_priority.is_some()),
    ];
    for (name, _) in directives.iter().filter(|(_, set)| *set) {
        let text = format!("{}'{name}' directive is ignored when FPM is not running as root", pool_tag(pool));
        log.write(Level::Notice, text);
    }
}

fn look_up(pool: &Pool) -> Result<(Option<Account>, Option<u32>), Diagnostic> {
    let account = given(&pool.user).map(|name| user(pool, name, "")).transpose()?;
    let group = given(&pool.group).map(|name| group(pool, name, "")).transpose()?;
    Ok((account, group))
}

/// What `-t` looks up: the names must exist, whoever asks.
pub(crate) fn check_names(pool: &Pool) -> Result<(), Diagnostic> {
    look_up(pool)?;
    owners(pool).map(drop)
}

/// Owner, group and access list of the pool's socket file.
pub(crate) fn socket_access(pool: &Pool, log: &mut Log) -> Result<Access, Diagnostic> {
    let mode = pool.socket_mode();
    let (users, groups) = (given(&pool.listen_acl_users), given(&pool.listen_acl_groups));
    if users.is_some() || groups.is_some() {
        let acl = Acl {
            users: listed(users).map(|name| listed_user(pool, name, log)).collect::<Result<_, _>>()?,
            groups: listed(groups).map(|name| listed_group(pool, name, log)).collect::<Result<_, _>>()?,
        };
        note_ignored_owners(pool, log);
        return Ok(Access { mode, acl: Some(acl), ..Access::default() });
    }
    let (owner, group) = owners(pool)?;
    Ok(Access { mode, owner, group, acl: None })
}

fn note_ignored_owners(pool: &Pool, log: &mut Log) {
    for (name, value) in [("listen.owner", &pool.listen_owner), ("listen.group", &pool.listen_group)] {
        if let Some(value) = given(value) {
            let value = printable(&String::from_utf8_lossy(value));
            log.write(Level::Warning, format!("{}ACL set, {name} = '{value}' is ignored", pool_tag(pool)));
        }
    }
}

/// php-fpm knows only names here.
fn listed_user(pool: &Pool, name: &[u8], log: &mut Log) -> Result<u32, Diagnostic> {
    let account = found(users::user_by_name(name), pool, "uid for user", name, NO_ERRNO)?;
    let (name, uid) = (printable(&String::from_utf8_lossy(name)), account.uid);
    log.write(Level::Debug, format!("{}user '{name}' have uid={uid}", pool_tag(pool)));
    Ok(uid)
}

fn listed_group(pool: &Pool, name: &[u8], log: &mut Log) -> Result<u32, Diagnostic> {
    let gid = found(users::group_by_name(name), pool, "gid for group", name, NO_ERRNO)?;
    let name = printable(&String::from_utf8_lossy(name));
    log.write(Level::Debug, format!("{}group '{name}' have gid={gid}", pool_tag(pool)));
    Ok(gid)
}

/// php-fpm ends these lines with the error number of a call that did not fail.
const NO_ERRNO: &str = ": Success (0)";

fn listed(names: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    names.into_iter().flat_map(|names| names.split(|byte| *byte == b','))
}

/// An owner given by name brings its primary group along.
fn owners(pool: &Pool) -> Result<(Option<u32>, Option<u32>), Diagnostic> {
    let owner = given(&pool.listen_owner).map(|name| user(pool, name, NO_ERRNO)).transpose()?;
    let group = given(&pool.listen_group).map(|name| group(pool, name, NO_ERRNO)).transpose()?;
    let named = given(&pool.listen_owner).is_some_and(|name| !users::is_number(name));
    let own_group = owner.as_ref().and_then(|owner| owner.gid).filter(|_| named);
    Ok((owner.map(|owner| owner.uid), group.or(own_group)))
}

fn user(pool: &Pool, name: &[u8], ending: &str) -> Result<Account, Diagnostic> {
    found(users::user(name), pool, "uid for user", name, ending)
}

fn group(pool: &Pool, name: &[u8], ending: &str) -> Result<u32, Diagnostic> {
    found(users::group(name), pool, "gid for group", name, ending)
}

fn found<T>(
    answer: io::Result<Option<T>>,
    pool: &Pool,
    what: &str,
    name: &[u8],
    ending: &str,
) -> Result<T, Diagnostic> {
    answer.ok().flatten().ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        error(format!("{}cannot get {what} '{name}'{ending}", pool_tag(pool)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(user: &str, group: &str) -> Pool {
        let text = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        Pool { name: b"p".to_vec(), user: text(user), group: text(group), ..Pool::default() }
    }

    #[test]
    fn users_and_groups_as_root() {
        let check = |user: &str, group: &str, allow_root: bool, expected: Result<(u32, u32), &str>| {
            let found = resolve(&pool(user, group), true, allow_root, &mut Log::default());
            let found =
                found.map(|identity| identity.rights.map_or((0, 0), |rights| (rights.uid, rights.gid)));
            let found = found.map_err(|diagnostic| String::from_utf8(diagnostic.text).unwrap());
            assert_eq!(found, expected.map_err(str::to_string), "{user} {group}");
        };
        let root = "[pool p] please specify user and group other than root";
        check("nobody", "", false, Ok((65534, 65534)));
        check("nobody", "12", false, Ok((65534, 12)));
        check("65534", "", false, Ok((65534, 65534)));
        check("nobody", "root", false, Err(root));
        check("root", "", false, Err(root));
        check("3999999999", "", false, Err(root));
        check("3999999999", "7", false, Ok((3_999_999_999, 7)));
        check("root", "", true, Ok((0, 0)));
        check("", "", true, Ok((0, 0)));
        check("nosuch", "", false, Err("[pool p] cannot get uid for user 'nosuch'"));
        check("nobody", "nosuch", false, Err("[pool p] cannot get gid for group 'nosuch'"));
    }

    #[test]
    fn user_and_home_come_with_names_only() {
        let resolve = |user: &str| resolve(&pool(user, "12"), true, false, &mut Log::default()).unwrap();
        assert_eq!(resolve("nobody").name.as_deref(), Some(b"nobody".as_slice()));
        assert_eq!((resolve("65534").name, resolve("65534").home), (None, None));
    }

    #[test]
    fn socket_owners_and_access_lists() {
        let mut owned = pool("", "");
        owned.listen_owner = Some(b"nobody".to_vec());
        owned.listen_group = Some(b"nosuch".to_vec());
        let text = String::from_utf8(check_names(&owned).unwrap_err().text).unwrap();
        assert_eq!(text, "[pool p] cannot get gid for group 'nosuch': Success (0)");
        owned.listen_group = None;
        assert_eq!(owners(&owned).unwrap(), (Some(65534), Some(65534)));
        owned.listen_owner = Some(b"65534".to_vec());
        assert_eq!(owners(&owned).unwrap(), (Some(65534), None));
        owned.listen_acl_users = Some(b"nobody,root".to_vec());
        let access = socket_access(&owned, &mut Log::default()).unwrap();
        assert_eq!(access.acl, Some(Acl { users: vec![65534, 0], groups: vec![] }));
        assert_eq!((access.mode, access.owner), (0o660, None));
    }
}
