//! Users and groups by name or number, and the list of groups that goes with a user.
//! Looked up in the master only: name services need its view of the machine.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, getgroups};

/// An entry of the user database, or a number without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group, when there is an entry.
    pub gid: Option<u32>,
    /// Name, when there is an entry.
    pub name: Option<Vec<u8>>,
    /// Home folder, when there is an entry.
    pub home: Option<Vec<u8>>,
}

/// Whether php-fpm takes the text for a number.
pub fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// A user by name, or by number with or without an entry. `None`: there is no such name.
pub fn user(text: &[u8]) -> io::Result<Option<Account>> {
    if is_number(text) {
        return parse(text).map(|uid| user_by_id(uid).map(Some)).unwrap_or(Ok(None));
    }
    user_by_name(text)
}

/// A user by name alone.
pub fn user_by_name(text: &[u8]) -> io::Result<Option<Account>> {
    let Ok(name) = std::str::from_utf8(text) else { return Ok(None) };
    Ok(User::from_name(name)?.map(account))
}

/// The account with this number, with its entry if it has one.
pub fn user_by_id(uid: u32) -> io::Result<Account> {
    let entry = User::from_uid(Uid::from_raw(uid))?;
    Ok(entry.map_or(Account { uid, gid: None, name: None, home: None }, account))
}

/// A group by name or number. `None`: there is no such name.
pub fn group(text: &[u8]) -> io::Result<Option<u32>> {
    if is_number(text) {
        return Ok(parse(text));
    }
    group_by_name(text)
}

/// A group by name alone.
pub fn group_by_name(text: &[u8]) -> io::Result<Option<u32>> {
    let Ok(name) = std::str::from_utf8(text) else { return Ok(None) };
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// All groups of a user who acts as `gid`; that group alone for a number without an entry.
pub fn groups_of(account: &Account, gid: u32) -> io::Result<Vec<u32>> {
    let Some(name) = &account.name else { return Ok(vec![gid]) };
    let name = CString::new(name.as_slice())?;
    Ok(getgrouplist(&name, Gid::from_raw(gid))?.into_iter().map(Gid::as_raw).collect())
}

/// The supplementary groups of this process.
pub fn own_groups() -> io::Result<Vec<u32>> {
    Ok(getgroups()?.into_iter().map(Gid::as_raw).collect())
}

/// Whether this process has root's powers.
pub fn own_id() -> u32 {
    Uid::effective().as_raw()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The real user id of this process.
pub fn own_uid() -> u32 {
    Uid::current().as_raw()
}

fn parse(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn account(entry: User) -> Account {
    Account {
        uid: entry.uid.as_raw(),
        gid: Some(entry.gid.as_raw()),
        name: Some(entry.name.into_bytes()),
        home: Some(OsStr::as_bytes(entry.dir.as_os_str()).to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let root = user(b"root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_deref()), (0, Some(0), Some(b"root".as_slice())));
        assert_eq!(user(b"0").unwrap().unwrap(), root);
        assert_eq!(user(b"no such user").unwrap(), None);
        let stranger = user(b"3999999999").unwrap().unwrap();
        assert_eq!((stranger.uid, stranger.name.is_none()), (3_999_999_999, true));
        assert_eq!(groups_of(&stranger, 77).unwrap(), [77]);
        assert_eq!(user(b"99999999999").unwrap(), None);
        assert_eq!(
            (group(b"root").unwrap(), group(b"12").unwrap(), group(b"\xff").unwrap()),
            (Some(0), Some(12), None)
        );
        assert!(groups_of(&root, 5).unwrap().contains(&5));
    }
}
