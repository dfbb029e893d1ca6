//! Finds the two executables of a comparison: the installed php-fpm and the cornac just built. Never builds anything.

use std::env;
use std::path::{Path, PathBuf};

/// The reference: `CORNAC_TEST_REFERENCE`, else the first php-fpm of the usual places.
pub fn reference() -> PathBuf {
    if let Some(path) = env::var_os("CORNAC_TEST_REFERENCE") {
        return path.into();
    }
    let known = ["/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm", "/usr/local/sbin/php-fpm"];
    known
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("no php-fpm to compare with: install the package php8.2-fpm, or set CORNAC_TEST_REFERENCE")
}

/// The executable under test: `CORNAC_TEST_SUBJECT`, `CORNAC_BIN`, else the cornac of the same target folder.
pub fn subject() -> PathBuf {
    for name in ["CORNAC_TEST_SUBJECT", "CORNAC_BIN"] {
        if let Some(path) = env::var_os(name) {
            let path = PathBuf::from(path);
            assert!(path.exists(), "{name}={} does not exist", path.display());
            return path;
        }
    }
    let test = env::current_exe().expect("path of the test executable");
    candidates(&test).into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("no cornac executable near {}: run `make test`, which builds it", test.display())
    })
}

/// `target/<profile>/deps/x` looks for `target/<profile>/cornac`, then for `target/release/cornac`.
fn candidates(test: &Path) -> Vec<PathBuf> {
    let Some(profile) = test.parent().and_then(Path::parent) else { return Vec::new() };
    let release = profile.parent().map(|target| target.join("release/cornac"));
    [Some(profile.join("cornac")), release].into_iter().flatten().collect()
}

/// Whether both sides are the same binary: then a known difference cannot show and is not demanded.
pub fn same_on_both_sides() -> bool {
    let real = |path: PathBuf| path.canonicalize().ok();
    real(reference()) == real(subject())
}

/// Whether the tests run as root, which decides about users, owners and chroot.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
