//! php-fpm's command line: options to actions, exit codes, usage text.

pub(crate) mod parse;
mod usage;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use board::message::PhpOptions;
use config::Options;
use master::{Invocation, exit_code};

use crate::{base_options, php_answers};
use parse::{Flag, Parser};

/// The name in the usage text: after the last slash, and `php` where there is none, as php-fpm has it.
pub(crate) fn program_name(argv0: &[u8]) -> String {
    match argv0.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => String::from_utf8_lossy(&argv0[slash + 1..]).into_owned(),
        None => "php".to_owned(),
    }
}

/// What the options add up to.
#[derive(Debug, PartialEq)]
enum Request {
    Usage(u8),
    /// PHP answers: `version`, `modules` or `info`.
    Ask(&'static str, PhpOptions),
    Test {
        invocation: Box<Invocation>,
        dump: bool,
    },
    Run(Box<Invocation>),
}

/// Carries out php-fpm's command line; returns the exit code.
pub(crate) fn run(program: &str, argv0: &OsStr, arguments: &[OsString]) -> u8 {
    let options = base_options();
    match read(arguments, options.clone()) {
        Request::Usage(code) => {
            let text = usage::text(program, &options.php_prefix.display().to_string());
            let _ = std::io::stdout().write_all(text.as_bytes());
            code
        }
        Request::Ask(task, php) => php_answers::exec(task, &php, argv0),
        Request::Test { invocation, .. } if master::is_trial() => master::try_out(&invocation),
        Request::Test { invocation, dump } => master::check(&invocation, dump),
        Request::Run(invocation) => master::run(&invocation),
    }
}

fn read(arguments: &[OsString], options: Options) -> Request {
    let (mut invocation, mut config) = (Invocation { options, ..Invocation::default() }, None);
    let (mut tests, mut info) = (0, false);
    let mut parser = Parser::new(arguments);
    while let Some(flag) = parser.next() {
        let text = |value: &[u8]| PathBuf::from(OsStr::from_bytes(value));
        match flag {
            Flag::Valued(b'c', value) => invocation.php.ini_path = Some(value),
            Flag::Valued(b'd', value) => invocation.php.defines.push(value),
            Flag::Valued(b'p', value) => invocation.options.prefix = Some(text(&value)),
            Flag::Valued(b'g', value) => invocation.options.pid = Some(text(&value)),
            Flag::Valued(b'y', value) => config = Some(text(&value)),
            Flag::Plain(b'n') => invocation.php.no_ini = true,
            Flag::Plain(b'e') => invocation.php.extended_info = true,
            Flag::Plain(b'i') => info = true,
            Flag::Plain(b'm') => return Request::Ask("modules", invocation.php),
            Flag::Plain(b'v') => return Request::Ask("version", invocation.php),
            Flag::Plain(b't') => tests += 1,
            Flag::Plain(b'D') => invocation.options.daemonize = Some(true),
            Flag::Plain(b'F') => invocation.options.daemonize = Some(false),
            Flag::Plain(b'O') => invocation.force_stderr = true,
            Flag::Plain(b'R') => invocation.options.allow_root = true,
            Flag::Plain(_) => return Request::Usage(exit_code::OK),
            Flag::Valued(..) | Flag::Unknown => return Request::Usage(exit_code::USAGE),
        }
    }
    if info {
        return Request::Ask("info", invocation.php);
    }
    if parser.words_left() {
        return Request::Usage(exit_code::USAGE);
    }
    let named = |path: &PathBuf| !path.as_os_str().is_empty();
    invocation.config = config
        .or_else(|| defined_path(&invocation))
        .filter(named)
        .unwrap_or_else(|| default_path(&invocation.options));
    let invocation = Box::new(invocation);
    match tests {
        0 => Request::Run(invocation),
        count => Request::Test { invocation, dump: count > 1 },
    }
}

/// `-d fpm.config=…`.
fn defined_path(invocation: &Invocation) -> Option<PathBuf> {
    let value = invocation.defined(b"fpm.config")?;
    Some(OsStr::from_bytes(&value).into())
}

/// The configuration file when none is named.
pub(crate) fn default_path(options: &Options) -> PathBuf {
    if options.prefix.is_some() {
        return options.default_path();
    }
    let [first, second] = master::php::default_configurations();
    if !first.exists() && second.exists() { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> Request {
        read(&words.iter().map(OsString::from).collect::<Vec<_>>(), Options::default())
    }

    fn invocation(words: &[&str]) -> Invocation {
        match request(words) {
            Request::Run(invocation) | Request::Test { invocation, .. } => *invocation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn usage_and_its_exit_codes() {
        for (words, code) in [
            (&["-h"][..], 0),
            (&["-?"], 0),
            (&["--help"], 0),
            (&["--usage"], 0),
            (&["-x"], 64),
            (&["--nonsense"], 64),
            (&["word"], 64),
            (&["-t", "word"], 64),
            (&["-"], 64),
            (&["-F", "--", "word"], 64),
            (&["-y"], 64),
            (&["-:"], 64),
            (&["-h", "-x"], 0),
            (&["-x", "-h"], 64),
        ] {
            assert_eq!(request(words), Request::Usage(code), "{words:?}");
        }
    }

    #[test]
    fn php_answers_take_the_options_before_them() {
        let PhpOptions { no_ini, .. } = match request(&["-n", "-v", "-x"]) {
            Request::Ask("version", php) => php,
            other => panic!("{other:?}"),
        };
        assert!(no_ini);
        assert!(matches!(request(&["-i", "-n"]), Request::Ask("info", php) if php.no_ini));
        assert!(matches!(request(&["-m"]), Request::Ask("modules", _)));
        assert_eq!(request(&["-i", "-x"]), Request::Usage(64));
        assert!(matches!(request(&["-i", "word"]), Request::Ask("info", _)));
    }

    #[test]
    fn values_in_every_form() {
        for words in [
            &["-y", "/f"][..],
            &["-y/f"],
            &["-y=/f"],
            &["--fpm-config", "/f"],
            &["--fpm-config=/f"],
            &["-Fy/f"],
        ] {
            assert_eq!(invocation(words).config, PathBuf::from("/f"), "{words:?}");
        }
        let all = invocation(&["-c", "/ini", "-d", "a=1", "-db", "-e", "-p/pre", "-g", "/pid", "-FDO", "-R"]);
        assert_eq!(all.php.ini_path.as_deref(), Some(b"/ini".as_slice()));
        assert_eq!(all.php.defines, [b"a=1".to_vec(), b"b".to_vec()]);
        assert!(all.php.extended_info && all.force_stderr && all.options.allow_root);
        assert_eq!((all.options.daemonize, all.options.pid), (Some(true), Some("/pid".into())));
        assert_eq!(all.config, PathBuf::from("/pre/etc/php-fpm.conf"));
    }

    #[test]
    fn testing_and_dumping() {
        for (words, expected) in [(&["-t"][..], false), (&["-tt"], true), (&["-t", "-F", "--test"], true)] {
            assert!(matches!(request(words), Request::Test { dump, .. } if dump == expected), "{words:?}");
        }
    }

    #[test]
    fn the_configuration_may_be_defined() {
        assert_eq!(invocation(&["-d", "fpm.config=/a"]).config, PathBuf::from("/a"));
        assert_eq!(invocation(&["-d", "fpm.config=/a", "-y", "/b"]).config, PathBuf::from("/b"));
        assert_eq!(invocation(&["-d", "fpm.config='/a'", "-d", "x"]).config, PathBuf::from("/a"));
        assert_eq!(invocation(&["-d", "fpm.config"]).config, PathBuf::from("1"));
        let default = default_path(&Options::default());
        for words in [&["-y="][..], &["-y", ""], &["-d", "fpm.config="]] {
            assert_eq!(invocation(words).config, default, "{words:?}");
        }
        assert_eq!(invocation(&["-p", "/x/"]).config.as_os_str(), "/x//etc/php-fpm.conf");
    }

    #[test]
    fn names_in_the_usage() {
        assert_eq!(program_name(b"/usr/sbin/php-fpm8.2"), "php-fpm8.2");
        assert_eq!(program_name(b"php-fpm"), "php");
    }
}
