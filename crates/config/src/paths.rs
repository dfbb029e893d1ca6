//! Relative paths made absolute: by plain joining, with php-fpm's order of prefixes.

use std::path::{Path, PathBuf};

use crate::Options;
use crate::model::{bytes_path, path_bytes};

/// The folders a relative path may be relative to.
pub(crate) struct Bases<'a> {
    /// `-p`.
    prefix: Option<&'a Path>,
    /// What counts without `-p`.
    fallback: &'a Path,
}

impl<'a> Bases<'a> {
    /// For pools and includes: else the PHP prefix.
    pub(crate) fn of(options: &'a Options) -> Self {
        Bases { prefix: options.prefix.as_deref(), fallback: &options.php_prefix }
    }

    /// For pid and error log: else the local state folder.
    pub(crate) fn of_state(options: &'a Options) -> Self {
        Bases { prefix: options.prefix.as_deref(), fallback: &options.localstatedir }
    }

    fn global(&self) -> &'a [u8] {
        path_bytes(self.prefix.unwrap_or(self.fallback))
    }
}

/// Prefixes a path that does not start with `/`; where the pool's prefix leaves it relative, the global one is put
/// in front as well. The empty path becomes the prefix with a slash.
pub(crate) fn absolute(path: Vec<u8>, pool_prefix: Option<&Path>, bases: &Bases<'_>) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path;
    }
    match pool_prefix {
        Some(prefix) => absolute(join(path_bytes(prefix), &path), None, bases),
        None => join(bases.global(), &path),
    }
}

/// The same with `$prefix` at the beginning standing for the prefix itself. `Err` (with the path as it was) when it
/// stands anywhere else.
pub(crate) fn absolute_expanding(
    path: Vec<u8>,
    pool_prefix: Option<&Path>,
    bases: &Bases<'_>,
) -> Result<Vec<u8>, Vec<u8>> {
    const TOKEN: &[u8] = b"$prefix";
    if path.starts_with(b"/") {
        return Ok(path);
    }
    let prefix = pool_prefix.map_or_else(|| bases.global(), path_bytes);
    let joined = match path.windows(TOKEN.len()).position(|w| w == TOKEN) {
        Some(0) if path.len() == TOKEN.len() => prefix.to_vec(),
        Some(0) => join(prefix, &path[TOKEN.len()..]),
        Some(_) => return Err(path),
        None => join(prefix, &path),
    };
    if joined.starts_with(b"/") || pool_prefix.is_none() {
        return Ok(joined);
    }
    absolute_expanding(joined, None, bases)
}

/// A path field made absolute in place.
pub(crate) fn resolve(field: &mut Option<PathBuf>, pool_prefix: Option<&Path>, bases: &Bases<'_>) {
    if let Some(path) = field {
        *path = bytes_path(&absolute(path_bytes(path).to_vec(), pool_prefix, bases));
    }
}

fn join(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    [prefix, b"/", path].concat()
}
