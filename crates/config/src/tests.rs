//! What a whole load says and gives, on a machine made of tables. The exact lines are compared with php-fpm's in the
//! live test; here are places, hints, the overlay, cornac's own directives, and that nothing panics.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::fake::Fake;
use crate::{Config, CoreLimit, Kind, Listen, Loaded, Options, Scope, StartupUser, directives, dump, load};

const POOL: &str = "[www]\nuser=u\nlisten=/s\npm=static\npm.max_children=2\n";

fn load_text(text: &[u8]) -> Loaded {
    load(Path::new("/c"), &Options::default(), &Fake::with("/c", text))
}

fn config(text: &str) -> Config {
    let loaded = load_text(text.as_bytes());
    loaded.config.unwrap_or_else(|| panic!("{text}: {:?}", loaded.diagnostics))
}

/// The diagnostics as `LEVEL: text | line | hint`.
fn lines(loaded: &Loaded) -> Vec<String> {
    let show = |d: &crate::Diagnostic| {
        let level = d.level.map_or("raw", crate::Level::word);
        let place = d.place.as_ref().map_or(String::new(), |p| format!("{}:{}", p.file.display(), p.line));
        let hint = d.hint.as_deref().unwrap_or_default();
        format!("{level}: {} | {place} | {hint}", String::from_utf8_lossy(&d.text))
    };
    loaded.diagnostics.iter().map(show).collect()
}

fn check(text: &str, expected: &str) {
    let loaded = load_text(text.as_bytes());
    assert_eq!(
        loaded.config.is_none(),
        lines(&loaded).iter().any(|l| l.contains("FPM initialization failed"))
    );
    assert_eq!(lines(&loaded)[0], expected, "{text}");
}

#[test]
fn problems_have_place_and_hint() {
    check(
        "[www]\nlisten=1\npm=fast\n",
        "ERROR: [/c:3] unable to parse value for entry 'pm': invalid process manager (static, dynamic or ondemand) \
         | /c:3 | allowed is static, dynamic or ondemand, for example: pm = dynamic",
    );
    check("[www]\nlistten=1\n", "ERROR: [/c:2] unknown entry 'listten' | /c:2 | did you mean listen?");
    check("listen=1\n", "ERROR: [/c:1] unknown entry 'listen' | /c:1 | it belongs in a pool's section");
    check("[x]\ndaemonize=no\n", "ERROR: [/c:2] unknown entry 'daemonize' | /c:2 | it belongs in [global]");
    check("#x=1\n", "ERROR: [/c:1] unknown entry '#x' | /c:1 | comments start with ';'");
    check("\nlog_limit=3\n", "ERROR: log_limit must be greater than 512 | /c:2 | 512 itself is allowed");
    check(
        "[x]\nlisten=1\n\npm=static\npm.max_children=0\n",
        "ALERT: [pool x] pm.max_children must be a positive value | /c:5 | add a line to the pool: pm.max_children = 5",
    );
    check(
        "x = \"a\n",
        "raw: PHP:  syntax error, unexpected end of file, expecting TC_DOLLAR_CURLY or TC_QUOTED_STRING or '\"' in \
         Unknown on line 2 | /c:1 | a value with blanks, brackets, quotes or operators needs double quotes around it",
    );
}

#[test]
fn what_follows_the_first_problem() {
    let enclosing = |text: &str| lines(&load_text(text.as_bytes()))[1..].join("\n");
    assert_eq!(
        enclosing("x\n"),
        "ERROR: failed to load configuration file '/c' |  | \nERROR: FPM initialization failed |  | "
    );
    assert_eq!(
        enclosing("[x]\n"),
        "ERROR: failed to post process the configuration |  | \nERROR: FPM initialization failed |  | "
    );
    let loaded = load(Path::new("/none"), &Options::default(), &Fake::default());
    assert_eq!(
        lines(&loaded)[0],
        "ERROR: failed to open configuration file '/none': No such file or directory (2) |  | "
    );
    let before_and_after: Vec<bool> = load_text(b"[x]\n").diagnostics.iter().map(|d| d.logged).collect();
    assert_eq!(before_and_after, [true, true, true]);
    assert!(load_text(b"log_limit=1\n").diagnostics.iter().all(|d| !d.logged));
}

#[test]
fn typed_values() {
    let text = format!(
        "rlimit_core=unlimited\n{POOL}env[A]=$HOME\nenv[B]=b\nphp_flag[x]=on\nlisten.mode=0666x\n\
         request_terminate_timeout=2m\nsecurity.limit_extensions=.php\t .inc\n"
    );
    let config = config(&text);
    let pool = &config.pools[0];
    assert_eq!(config.global.rlimit_core, CoreLimit::Unlimited);
    assert_eq!(config.global.error_log, Path::new("/var/log/php-fpm.log"));
    assert_eq!(pool.env.iter().map(|e| e.source()).collect::<Vec<_>>(), [Some(&b"HOME"[..]), None]);
    assert_eq!(pool.php_values[0].value, b"1");
    assert_eq!(pool.socket_mode(), 0o666);
    assert_eq!(pool.request_terminate_timeout.duration().unwrap().as_secs(), 120);
    assert_eq!(pool.request_slowlog_timeout.duration(), None);
    assert_eq!(pool.extensions().collect::<Vec<_>>(), [b".php", b".inc"]);
    assert_eq!(pool.places["listen.mode"].line, 10);
}

#[test]
fn own_directives_and_the_overlay() {
    let options = Options { overlay: Some("/o".into()), ..Options::default() };
    let mut machine = Fake::with("/c", POOL.as_bytes());
    let plain = load(Path::new("/c"), &options, &machine).config.unwrap();
    assert_eq!(plain.pools[0].request_read_timeout.0, 60);
    assert_eq!(plain.pools[0].php_startup_user, StartupUser::Pool);
    assert!(!dump(&plain).iter().any(|l| l.starts_with(b"\tphp.")));

    let overlay = "php.binary = /usr/bin/php8.2\n[WWW]\nphp.startup_user = root\nrequest_read_timeout = 5\n";
    machine.files.insert("/o".into(), overlay.into());
    let config = load(Path::new("/c"), &options, &machine).config.unwrap();
    assert_eq!(config.global.php_binary, Some(PathBuf::from("/usr/bin/php8.2")));
    assert_eq!(config.pools.len(), 1);
    assert_eq!(config.pools[0].php_startup_user, StartupUser::Root);
    assert_eq!(config.pools[0].request_read_timeout.0, 5);
    assert!(dump(&config).contains(&b"\tphp.startup_user = root".to_vec()));

    machine.files.insert("/o".into(), b"[www]\nphp.startup_user = me\n".to_vec());
    let loaded = load(Path::new("/c"), &options, &machine);
    assert_eq!(
        lines(&loaded)[..2],
        [
            "ERROR: [/o:2] unable to parse value for entry 'php.startup_user': must be 'root' or empty | /o:2 | \
             allowed is 'root' or empty, for example: php.startup_user = root",
            "ERROR: failed to load configuration file '/o' |  | ",
        ]
    );
    check(
        "php.binary = php\n",
        "ERROR: [/c:1] unable to parse value for entry 'php.binary': must be an absolute path | /c:1 | \
         allowed is an absolute path, for example: php.binary = /usr/sbin/php-fpm8.2",
    );
}

#[test]
fn the_watchdog_of_systemd() {
    let mut machine = Fake::with("/c", format!("systemd_interval=5\n{POOL}").as_bytes());
    machine.env.insert(b"WATCHDOG_USEC".to_vec(), b"30000000".to_vec());
    let loaded = load(Path::new("/c"), &Options::default(), &machine);
    assert_eq!(
        lines(&loaded),
        [
            "WARNING: systemd_interval option ignored |  | ",
            "NOTICE: systemd watchdog configured to 15sec |  | "
        ]
    );
    let global = loaded.config.unwrap().global;
    assert_eq!((global.systemd_interval, global.systemd_watchdog), (15_000, true));
}

#[test]
fn a_pool_named_by_its_own_variable_ends() {
    let text = "[a$pool]\nuser=$pool\nlisten=1\npm=static\npm.max_children=1\n";
    assert_eq!(config(text).pools[0].user.as_deref(), Some(&b"a$pool"[..]));
}

#[test]
fn variables_with_a_fallback() {
    let mut machine = Fake::with("/c", b"");
    machine.env.extend([(b"A".to_vec(), b"a".to_vec()), (b"EMPTY".to_vec(), b"".to_vec())]);
    machine.env.insert(b"X:-y".to_vec(), b"odd".to_vec());
    for (value, expected) in [
        ("${A:-b}", "a"),
        ("${NONE:-b}", "b"),
        ("${NONE:-/run/b.sock}", "/run/b.sock"),
        ("${NONE:-b c }", "b c"),
        ("${NONE:-}", ""),
        ("${EMPTY:-b}", ""),
        ("${X:-y}", "odd"),
        ("\"1${NONE:-b}2\"", "1b2"),
        ("${NONE}", ""),
    ] {
        let text = format!("{POOL}listen.owner = {value}\n");
        machine.files.insert("/c".into(), text.into_bytes());
        let config = load(Path::new("/c"), &Options::default(), &machine).config.unwrap();
        let found = String::from_utf8(config.pools[0].listen_owner.clone().unwrap()).unwrap();
        assert_eq!(found, expected, "{value}");
    }
}

/// The text counts as php-fpm does; the place is where an editor finds it.
#[test]
fn problems_behind_an_include() {
    let mut machine = Fake::with("/c", b"[global]\ninclude = /pool\n\nlog_limit = 600\n");
    machine.files.insert("/pool".into(), format!("\n\n{POOL}").into_bytes());
    let loaded = load(Path::new("/c"), &Options::default(), &machine);
    assert_eq!(
        lines(&loaded)[0],
        "ERROR: [/c:10] unknown entry 'log_limit' | /c:4 | it belongs in [global]; after an include, the section goes \
         on that the included file ended in"
    );
}

/// What php-fpm listens on, though it shows the address as written.
#[test]
fn the_relative_path_of_a_status_pool() {
    let mut machine = Fake::with("/c", format!("{POOL}prefix=/srv\npm.status_listen=s.sock\n").as_bytes());
    machine.directories = vec!["/srv".into()];
    for (prefix, expected) in [(None, "/usr/s.sock"), (Some("/srv"), "/srv/s.sock")] {
        let options = Options { prefix: prefix.map(PathBuf::from), ..Options::default() };
        let pools = load(Path::new("/c"), &options, &machine).config.unwrap().pools;
        assert_eq!(pools[0].pm_status_listen.as_deref(), Some(&b"s.sock"[..]));
        assert_eq!((pools[1].listen.as_slice(), pools[1].status_of), (expected.as_bytes(), Some(0)));
    }
}

#[test]
fn a_pools_name_in_a_value() {
    for (name, value, expected) in [
        ("p", "$pool", "p"),
        ("p", "a$pool$pool/b$poolc", "app/bpc"),
        ("p", "$$poolool", "p"),
        ("$poo", "$pooll", "$poo"),
        ("$pool", "$pool-$pool", "$pool-$pool"),
        ("", "a$poolb", "ab"),
        ("p", "$poo", "$poo"),
    ] {
        let text = format!("[{name}]\nlisten=/s\npm=static\npm.max_children=2\nlisten.owner = \"{value}\"\n");
        let found = config(&text).pools.remove(0).listen_owner.unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{name} {value}");
    }
}

#[test]
fn a_pools_name_that_makes_a_value_too_long() {
    let (name, value) = ("p".repeat(1 << 20), "$pool".repeat(17));
    let text = format!("[{name}]\nlisten = {value}\n");
    let said = lines(&load_text(text.as_bytes()));
    let reason = "unable to parse value for entry 'listen': is too long with the pool's name in it";
    assert!(said[0].starts_with(&format!("ERROR: [/c:2] {reason}")), "{}", said[0]);
}

#[test]
fn addresses() {
    let tcp = |host: &str, port| Ok(Listen::Tcp { host: host.into(), port });
    let bad = |port: &str| Err(format!("invalid port value '{port}'"));
    for (text, expected) in [
        ("/run/x.sock", Ok(Listen::Unix("/run/x.sock".into()))),
        ("9000", Ok(Listen::Port(9000))),
        ("127.0.0.1:9000", tcp("127.0.0.1", 9000)),
        ("[::1]:9000", tcp("::1", 9000)),
        ("::1:9000", tcp("::1", 9000)),
        ("localhost:9000", tcp("localhost", 9000)),
        ("99999", bad("99999")),
        ("0", bad("0")),
        ("host:http", bad("http")),
        ("host:", bad("")),
        ("host: +80", tcp("host", 80)),
        ("host:99999999999999999999", bad("99999999999999999999")),
        ("host:-80", bad("-80")),
        ("host:80x", Err("getaddrinfo: Servname not supported for ai_socktype\n".into())),
    ] {
        let outcome = Listen::parse(text.as_bytes()).map_err(|d| String::from_utf8(d.text).unwrap());
        assert_eq!(outcome, expected, "{text}");
    }
}

#[test]
fn every_row_of_the_table_is_complete_and_its_example_loads() {
    let mut seen = Vec::new();
    for row in directives() {
        assert!(!seen.contains(&(row.scope, row.name)), "{} twice", row.name);
        seen.push((row.scope, row.name));
        for words in [row.default, row.range, row.since, row.doc, row.example] {
            assert!(!words.is_empty(), "{}", row.name);
        }
        assert!(row.doc.ends_with('.') && row.example.starts_with(row.name), "{}", row.name);
        assert_eq!(row.example.contains('['), matches!(row.kind(), Kind::List | Kind::Map), "{}", row.name);
        if !row.available() {
            continue;
        }
        let section = if row.scope == Scope::Global { "[global]" } else { "[www]" };
        let text = format!("{section}\n{}\n", row.example);
        let said = lines(&load_text(text.as_bytes()));
        assert!(!said[0].starts_with("ERROR: [/c"), "{said:?}");
    }
    assert!(directives().filter(|row| row.own).all(|row| row.since.starts_with("0.")));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let loaded = load_text(&text);
        prop_assert!(loaded.config.is_some() || !loaded.diagnostics.is_empty());
    }

    #[test]
    fn any_syntax_is_survived(
        pieces in prop::collection::vec(prop::sample::select(&[
            "[www]", "listen", "pm.max_children", "env[", "]", "=", "\"", "'", "${", "}", "$", "\\", "\n", "\r", ";", " ",
            "\t", "(", "~", "!", "|", "9", "yes", "static", "pm", "$pool", "\0", "\u{feff}", "include", "/c", "*",
        ][..]), 0..60)
    ) {
        let loaded = load_text(pieces.concat().as_bytes());
        if let Some(config) = &loaded.config {
            prop_assert!(dump(config).len() > 60);
        }
    }

    #[test]
    fn any_value_is_survived(name in 0usize..60, value in "[ -~]{0,12}") {
        let row = directives().nth(name).unwrap();
        let section = if row.scope == Scope::Global { "[global]" } else { "[www]" };
        load_text(format!("{POOL}{section}\n{} = {value}\n", row.name).as_bytes());
    }

    #[test]
    fn deep_nesting_is_survived(depth in 1usize..5000) {
        load_text(format!("[www]\nuser = {}\n", "(".repeat(depth)).as_bytes());
        load_text(format!("[www]\nuser = {}1\n", "!".repeat(depth)).as_bytes());
    }
}

#[test]
fn a_status_pool_is_like_its_pool_and_hidden() {
    let more = "listen.owner=o\nlisten.mode=0600\nlisten.allowed_clients=::1\nping.path=/p\nping.response=r\n\
                php_value[a]=b\npm.status_listen=/t\n";
    let config = config(&format!("{POOL}{more}[other]\nuser=v\nlisten=/o\npm=static\npm.max_children=1\n"));
    let names: Vec<_> = config.pools.iter().map(|pool| String::from_utf8_lossy(&pool.name)).collect();
    assert_eq!(names, ["www", "other", "www_status"]);
    let [main, _, status] = &config.pools[..] else { panic!("three pools") };
    assert_eq!((main.status_of, status.status_of), (None, Some(0)));
    assert_eq!(
        (main.pm_status_path.as_deref(), status.pm_status_path.as_deref()),
        (Some(&b"/"[..]), Some(&b"/"[..]))
    );
    let shared = |pool: &crate::Pool| {
        (
            pool.user.clone(),
            pool.listen_owner.clone(),
            pool.listen_mode.clone(),
            pool.listen_allowed_clients.clone(),
        )
    };
    assert_eq!(shared(main), shared(status));
    assert_eq!((status.ping_response.as_deref(), status.listen.as_slice()), (Some(&b"r"[..]), &b"/t"[..]));
    assert_eq!((status.pm, status.pm_max_children), (crate::ProcessManager::Ondemand, 2));
    assert!(status.php_values.is_empty());
    assert!(!dump(&config).iter().any(|line| line == b"[www_status]"));
}
