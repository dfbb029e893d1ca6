//! Compiles the C shim against the headers of the PHP that `php-config` describes (`PHP_CONFIG` names
//! another one). No PHP library is linked: its functions come from the executable that loads the engine.

use std::process::Command;

const SOURCES: [&str; 11] = [
    "companion",
    "files",
    "host",
    "ini",
    "layout",
    "module",
    "pages",
    "request",
    "sapi",
    "startup",
    "user_ini",
];

fn main() {
    println!("cargo::rerun-if-env-changed=PHP_CONFIG");
    println!("cargo::rerun-if-changed=shim");
    let mut shim = cc::Build::new();
    shim.std("gnu11").pic(true).warnings(true).extra_warnings(true).flag("-Wno-unused-parameter");
    for folder in include_folders() {
        shim.flag("-isystem").flag(folder);
    }
    for source in SOURCES {
        shim.file(format!("shim/{source}.c"));
    }
    shim.compile("shim");
    // PHP's functions are bound when first called, so that the engine loads into any executable and can
    // itself say that it is no PHP.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,lazy");
}

fn include_folders() -> Vec<String> {
    let program = std::env::var("PHP_CONFIG").unwrap_or_else(|_| "php-config".to_owned());
    let output = Command::new(&program).arg("--includes").output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "cannot run {program}: {error}. PHP's headers are missing: `scripts/setup.sh build` installs them"
        )
    });
    let includes = String::from_utf8(output.stdout).expect("php-config prints text");
    includes.split_whitespace().filter_map(|word| word.strip_prefix("-I")).map(str::to_owned).collect()
}
