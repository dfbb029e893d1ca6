//! What holds for every configuration, with files put together from what matters to the reader. The fuzz target `config`
//! goes further: `cargo +nightly fuzz run config fuzz/corpus/config fuzz/corpus-seed/config` (see `fuzz/Cargo.toml`).

mod checks;

use std::path::Path;

use proptest::prelude::*;

const PIECES: &[&str] = &[
    "[www]",
    "[global]",
    "[",
    "]",
    "\n",
    "\r\n",
    "\0",
    "\n;;;;\n",
    "include = /a\n",
    "include = /*\n",
    "include = /main\n",
    "listen = /s\n",
    "listen = 9000\n",
    "user = u\n",
    "pm = static\n",
    "pm = dynamic\n",
    "pm.max_children = 3\n",
    "env[A] = b\n",
    "env[",
    "php_value[x] = ",
    "access.format = ",
    "access.log = /x\n",
    "chroot = $prefix",
    "chdir = /srv\n",
    "prefix = /srv\n",
    "$pool",
    "${HOME}",
    "${X:-y}",
    "${",
    "\"",
    "'",
    "\\",
    "(",
    ")",
    "|",
    "&",
    "~",
    "!",
    "=",
    " ",
    ";",
    "%{x}e",
    "%",
    "5s",
    "-1",
    "99999999999",
    "yes",
    "off",
    "E_ALL",
    "a",
    "\u{e4}",
    "\u{feff}",
    "pm.status_listen = 1\n",
    "slowlog = x\n",
    "request_slowlog_timeout = 1\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        checks::configuration(pieces.concat().as_bytes());
        checks::defines(pieces.concat().as_bytes());
    }

    #[test]
    fn a_good_pool_with_anything_behind_it(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let good = b"[www]\nuser = u\nlisten = /s\npm = static\npm.max_children = 1\n";
        checks::configuration(&[&good[..], &tail].concat());
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        checks::configuration(&bytes);
        checks::defines(&bytes);
    }
}

#[test]
fn the_seeds_of_the_fuzz_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seed/config");
    let seeds = std::fs::read_dir(folder).expect("seeds").flatten();
    let count = seeds.map(|seed| checks::configuration(&std::fs::read(seed.path()).expect("seed"))).count();
    assert!(count >= 5, "{count} seeds");
}
