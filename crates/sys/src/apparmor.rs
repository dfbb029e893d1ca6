//! Changing from the AppArmor profile a process runs under to one of the profile's hats. The kernel takes the wish
//! through /proc/self/attr; no library is needed for it.

use std::fs::{self, File};
use std::io::{self, Write};

/// Where newer kernels have AppArmor's own attribute, and where all have that of the one security module.
const ATTRIBUTES: [&str; 2] = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];

/// A hat of the present profile. It is looked for while /proc is in sight, which a chroot may end, and put on later.
#[derive(Debug)]
pub struct Hat {
    attribute: File,
    profile: Vec<u8>,
    name: Vec<u8>,
}

impl Hat {
    /// The hat of this name below the profile we run under. Fails without AppArmor.
    pub fn find(name: &[u8]) -> io::Result<Hat> {
        let path = ATTRIBUTES.iter().find(|path| fs::exists(path).unwrap_or(false)).unwrap_or(&ATTRIBUTES[1]);
        let profile = profile(&fs::read(path)?).to_vec();
        let attribute = File::options().write(true).open(path)?;
        Ok(Hat { attribute, profile, name: name.to_vec() })
    }

    /// The profile we run under.
    pub fn profile(&self) -> &[u8] {
        &self.profile
    }

    /// The hat's full name.
    pub fn target(&self) -> Vec<u8> {
        [&self.profile, b"//".as_slice(), &self.name].concat()
    }

    /// Puts it on, for good. Fails if there is no such hat, or the profile does not allow it.
    pub fn put_on(&mut self) -> io::Result<()> {
        // The kernel wants the whole wish in one write.
        let wish = [b"changeprofile ".as_slice(), &self.target()].concat();
        self.attribute.write_all(&wish)
    }
}

/// `name (enforce)`, with or without a newline: the name.
fn profile(confinement: &[u8]) -> &[u8] {
    let text = confinement.trim_ascii_end();
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let mode = text.windows(2).rposition(|pair| pair == b" (").filter(|_| text.ends_with(b")"));
    &text[..mode.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_no_part_of_the_profile() {
        for (confinement, expected) in [
            ("php-fpm (enforce)\n", "php-fpm"),
            ("php-fpm (complain)", "php-fpm"),
            ("/usr/sbin/php-fpm8.2 (enforce)\n", "/usr/sbin/php-fpm8.2"),
            ("name (with) brackets (enforce)\n", "name (with) brackets"),
            ("unconfined\n", "unconfined"),
            ("unconfined\0", "unconfined"),
        ] {
            assert_eq!(profile(confinement.as_bytes()), expected.as_bytes());
        }
    }
}
