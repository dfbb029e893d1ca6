//! Tables of requests and what php-fpm 8.2 makes of them, with a file system
//! that exists only here. `/w` is the document root.

use std::cell::Cell;

use super::*;

struct Sent(Vec<(&'static str, &'static str)>);

impl Params for Sent {
    fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(sent, _)| sent.as_bytes() == name).map(|(_, value)| value.as_bytes())
    }
}

#[derive(Default)]
struct Disk {
    probes: Cell<usize>,
}

const SCRIPTS: [&str; 6] =
    ["/w/env.php", "/w/hello.txt", "/w/sub/env.php", "/w/a b+c/env.php", "/w/b\\k.php", "env.php"];
const OTHERS: [&str; 6] = ["/", "/w", "/w/sub", "/w/a b+c", "/w/sub/..", "/w/../w/env.php"];

impl Files for Disk {
    fn resolves(&self, path: &[u8]) -> bool {
        self.is_regular_file(path) || OTHERS.iter().any(|other| other.as_bytes() == path)
    }

    fn is_regular_file(&self, path: &[u8]) -> bool {
        self.probes.set(self.probes.get() + 1);
        SCRIPTS.iter().any(|script| script.as_bytes() == path)
    }
}

/// Short names for the variables of the tables.
const NAMES: [(&str, &str); 11] = [
    ("SF", "SCRIPT_FILENAME"),
    ("SN", "SCRIPT_NAME"),
    ("PI", "PATH_INFO"),
    ("PT", "PATH_TRANSLATED"),
    ("DR", "DOCUMENT_ROOT"),
    ("RU", "REDIRECT_URL"),
    ("SS", "SERVER_SOFTWARE"),
    ("OSF", "ORIG_SCRIPT_FILENAME"),
    ("OSN", "ORIG_SCRIPT_NAME"),
    ("OPI", "ORIG_PATH_INFO"),
    ("OPT", "ORIG_PATH_TRANSLATED"),
];

/// `sent` is `NAME=value|…`; `expected` is `script|request_uri`, then the changes: `NAME=value` or `-NAME`.
#[track_caller]
fn check_with(settings: &Settings<'_>, sent: &'static str, expected: &str) {
    let sent = sent.split('|').filter_map(|pair| pair.split_once('=')).map(|(short, value)| {
        (NAMES.iter().find(|name| name.0 == short).unwrap_or_else(|| panic!("unknown name {short}")).1, value)
    });
    let sent = Sent(sent.collect());
    let resolved = resolve(&sent, settings, &Disk::default());
    assert_eq!(rendered(&resolved), expected);
    assert_eq!(resolved.not_found, expected.starts_with("404"));
}

#[track_caller]
fn check(sent: &'static str, expected: &str) {
    check_with(&Settings::default(), sent, expected);
}

fn rendered(resolved: &Resolved<'_>) -> String {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let absent = if resolved.not_found { "404" } else { "none" };
    let mut parts = vec![resolved.script.as_deref().map_or(absent.into(), text)];
    parts.push(resolved.request_uri.as_deref().map_or("none".into(), text));
    let short = |long: &str| NAMES.iter().find(|name| name.1 == long).map_or("?", |name| name.0);
    parts.extend(resolved.changes.iter().map(|change| match change {
        Change::Set(name, value) => format!("{}={}", short(name), text(value)),
        Change::Remove(name) => format!("-{}", short(name)),
    }));
    parts.join("|")
}

#[test]
fn a_plain_request_asks_once_and_allocates_nothing() {
    let sent = [("SCRIPT_FILENAME", "/w/env.php"), ("SCRIPT_NAME", "/env.php"), ("PATH_INFO", "")];
    let (sent, disk) = (Sent(sent.to_vec()), Disk::default());
    let resolved = resolve(&sent, &Settings::default(), &disk);
    assert_eq!(rendered(&resolved), "/w/env.php|/env.php");
    assert_eq!(disk.probes.get(), 1);
    assert_eq!(resolved.changes.capacity(), 0);
    assert!(matches!(resolved.script, Some(Cow::Borrowed(_))));
    assert!(matches!(resolved.request_uri, Some(Cow::Borrowed(_))));
}

#[test]
fn nginx() {
    check("SF=/w/env.php|SN=/env.php|PI=|DR=/w", "/w/env.php|/env.php");
    check("SF=/w/env.php|SN=/env.php|PI=/pi/x|PT=/w/pi/x|DR=/w", "/w/env.php|/env.php");
    check(
        "SF=/w/env.php/pi/x|SN=/env.php/pi/x|DR=/w",
        "/w/env.php|/env.php/pi/x|OSF=/w/env.php/pi/x|SF=/w/env.php|PT=/w",
    );
    check(
        "SF=/w/env.php/pi/x|SN=/env.php|PI=/pi/x|DR=/w",
        "/w/env.php|/env.php|OSF=/w/env.php/pi/x|SF=/w/env.php|PT=/w/pi/x",
    );
    check(
        "SF=/w/env.php/pi/x|PT=/w/env.php/pi/x|SN=/php-fpm|PI=/env.php/pi/x|DR=/w",
        "/w/env.php|/env.php|OPI=/env.php/pi/x|OSN=/php-fpm|SN=/env.php|PI=/pi/x\
         |OSF=/w/env.php/pi/x|SF=/w/env.php|OPT=/w/env.php/pi/x|PT=/w/pi/x",
    );
    // SCRIPT_NAME is already what precedes PATH_INFO, or was not sent at all.
    check(
        "SF=/w/env.php/x|SN=/env.php|PI=/env.php/x",
        "/w/env.php|/env.php|OPI=/env.php/x|PI=/x|OSF=/w/env.php/x|SF=/w/env.php|PT=/w/x",
    );
    check(
        "SF=/w/env.php/x|PI=/env.php/x",
        "/w/env.php|/env.php|OPI=/env.php/x|SN=/env.php|PI=/x|OSF=/w/env.php/x|SF=/w/env.php",
    );
}

#[test]
fn without_a_document_root_the_name_shows_where_it_ends() {
    check(
        "SF=/w/env.php/pi/x|SN=/env.php/pi/x",
        "/w/env.php|/env.php/pi/x|OSF=/w/env.php/pi/x|SF=/w/env.php",
    );
    check(
        "SF=/w/env.php/x|SN=/env.php|PT=/old",
        "/w/env.php|/env.php|OSF=/w/env.php/x|SF=/w/env.php|OPT=/old|PT=/w",
    );
    // The name may occur anywhere; its length is cut from the end all the same.
    check("SF=/w/env.php/x|SN=/w", "/w/env.php|/w|OSF=/w/env.php/x|SF=/w/env.php|PT=/w/env.p");
    check("SF=/w/env.php/x|SN=", "/w/env.php||OSF=/w/env.php/x|SF=/w/env.php|PT=/w/env.php");
    check("SF=/w/env.php/x", "/w/env.php|none|OSF=/w/env.php/x|SF=/w/env.php");
}

#[test]
fn paths_that_are_no_script() {
    check("SF=/w/env.php/|SN=/env.php/|DR=/w/", "/w/env.php|/env.php/|OSF=/w/env.php/|SF=/w/env.php|PT=/w");
    check("SF=/w/env.php//x|DR=/", "/w/env.php|none|OSF=/w/env.php//x|SF=/w/env.php|PT=");
    check("SF=/w/hello.txt/x.php|DR=/w", "/w/hello.txt|none|OSF=/w/hello.txt/x.php|SF=/w/hello.txt|PT=/w");
    check("SF=/w/sub|SN=/sub", "/w/sub|/sub");
    check("SF=/w/sub/|SN=/sub/", "404|/sub/|OSF=/w/sub/|-SF");
    check("SF=/w/missing.php|SN=/m", "404|/m|OSF=/w/missing.php|-SF");
    check("SF=/|SN=/", "404|/|OSF=/|-SF");
    check("SF=missing|SN=/m", "404|/m|OSF=missing|-SF");
    check("SF=env.php|SN=/env.php", "env.php|/env.php");
    check("SF=env.php\\x", "env.php|none|OSF=env.php\\x|SF=env.php");
    // A backslash separates only once no slash is left.
    check("SF=/w/env.php\\x", "404|none|OSF=/w/env.php\\x|-SF");
    check("SF=/w/b\\k.php/x", "/w/b\\k.php|none|OSF=/w/b\\k.php/x|SF=/w/b\\k.php");
    check("SF=|SN=/env.php", "|/env.php");
    check("PT=/w/missing|SN=/m", "404|/m");
}

#[test]
fn parent_directories_are_refused() {
    check("SF=/w/sub/..|SN=/x", "none|/x");
    check("SF=/w/env.php/..|SN=/x", "/w/env.php|/x|OSF=/w/env.php/..|SF=/w/env.php");
    check("SF=/w/../w/env.php", "none|none");
    for (path, refused) in
        [("..", true), ("../a", true), ("a/../b", true), ("..a", false), ("a..", false), ("a/...", false)]
    {
        assert_eq!(has_parent_component(path.as_bytes()), refused, "{path}");
    }
}

#[test]
fn missing_script_filename() {
    check("PT=/w/env.php|SN=/env.php", "/w/env.php|/env.php|SF=/w/env.php");
    check("PT=/w/env.php/x|SN=/env.php", "/w/env.php|/env.php|SF=/w/env.php|OPT=/w/env.php/x|PT=/w");
    check("SN=/env.php|DR=/w", "none|none");
    let resolved_nothing = Sent(vec![("SCRIPT_NAME", "/env.php")]);
    assert!(resolve(&resolved_nothing, &Settings::default(), &Disk::default()).unnamed);
}

#[test]
fn apache_set_handler() {
    check("SF=proxy:fcgi://localhost:9000/w/env.php|SN=/env.php|DR=/w", "/w/env.php|/env.php|SF=/w/env.php");
    check(
        "SF=proxy:fcgi://h/w/env.php/pi/x|SN=/env.php|PI=/pi/x|PT=/w/pi/x|DR=/w",
        "/w/env.php|/env.php|SF=/w/env.php/pi/x|OSF=/w/env.php/pi/x|SF=/w/env.php|OPT=/w/pi/x|PT=/w/pi/x",
    );
    check("SF=PROXY:FCGI://h/w/env.php?a=/b|SN=/env.php", "/w/env.php|/env.php|SF=/w/env.php");
    // A PATH_INFO that disagrees becomes SCRIPT_NAME as a whole, even an empty one.
    check(
        "SF=proxy:fcgi://h/w/env.php/x|SN=/env.php|PI=/y|DR=/w",
        "/w/env.php|/y|SF=/w/env.php/x|OPI=/y|OSN=/env.php|SN=/y|PI=/x|OSF=/w/env.php/x|SF=/w/env.php|PT=/w/x",
    );
    check(
        "SF=proxy:fcgi://h/w/env.php/x|SN=/env.php|PI=",
        "/w/env.php||SF=/w/env.php/x|OPI=|OSN=/env.php|SN=|PI=/x|OSF=/w/env.php/x|SF=/w/env.php|PT=/w/x",
    );
    // REDIRECT_URL means nothing behind mod_proxy_fcgi.
    check("SF=proxy:fcgi://h/w/env.php|SN=/e|PT=/w/hello.txt|RU=/r", "/w/env.php|/e|SF=/w/env.php");
}

#[test]
fn apache_proxy_pass() {
    check(
        "SF=proxy:fcgi://h/w/env.php/pi/x?a=b|SN=/env.php/pi/x|DR=/w",
        "/w/env.php|/env.php|SF=/w/env.php/pi/x|OSN=/env.php/pi/x|SN=/env.php|PI=/pi/x\
         |OSF=/w/env.php/pi/x|SF=/w/env.php|PT=/w/pi/x",
    );
    check(
        "SF=proxy:balancer://mycl/w/env.php/pi|SN=/env.php/pi",
        "/w/env.php|/env.php|SF=/w/env.php/pi|OSN=/env.php/pi|SN=/env.php|PI=/pi\
         |OSF=/w/env.php/pi|SF=/w/env.php|PT=/w/pi",
    );
    check(
        "SF=proxy:fcgi://h/w/a b+c/env.php/p q+r|SN=/a%20b+c/env.php/p%20q+r|DR=/w",
        "/w/a b+c/env.php|/a%20b+c/env.php/p%20q+r|SF=/w/a b+c/env.php/p q+r|PI=/p q+r\
         |OSF=/w/a b+c/env.php/p q+r|SF=/w/a b+c/env.php|PT=/w/p q+r",
    );
    check(
        "SF=proxy:fcgi://h/w/env.php/p%20q+r|SN=/env.php/p q+r|DR=/w",
        "/w/env.php|/env.php|SF=/w/env.php/p%20q+r|OSN=/env.php/p q+r|SN=/env.php|PI=/p%20q+r\
         |OSF=/w/env.php/p%20q+r|SF=/w/env.php|PT=/w/p%20q+r",
    );
    check("SF=proxy:fcgi://h/w/a%20b+c/env.php", "404|none|SF=/w/a%20b+c/env.php|OSF=/w/a%20b+c/env.php|-SF");
    // The whole name is PATH_INFO: it is left alone.
    check(
        "SF=proxy:fcgi://h/w/env.php/x|SN=/x|DR=/w",
        "/w/env.php|/x|SF=/w/env.php/x|PI=/x|OSF=/w/env.php/x|SF=/w/env.php|PT=/w/x",
    );
}

#[test]
fn apache_urls_without_a_path() {
    check("SF=proxy:fcgi://h|SN=/e", "404|/e|OSF=proxy:fcgi://h|-SF");
    check("SF=proxy:fcgi://h?/w/env.php|SN=/e", "/w/env.php|/e|SF=/w/env.php");
    check("SF=proxy:fcgi://h?x|SN=/e", "404|/e|SF=proxy:fcgi://h|OSF=proxy:fcgi://h|-SF");
    check("SF=proxy:fcgi:/w/env.php|SN=/e", "404|/e|OSF=proxy:fcgi:/w/env.php|-SF");
    check("SF=/w/env.php?x|SN=/e", "404|/e|OSF=/w/env.php?x|-SF");
}

#[test]
fn mod_fastcgi() {
    check(
        "SF=/cgi/php5|SN=/php5|PI=/env.php|PT=/w/env.php|RU=/env.php|DR=/w",
        "/w/env.php|/env.php|OSF=/cgi/php5|SF=/w/env.php|OPI=/env.php|-PI|OPT=/w/env.php|-PT|OSN=/php5|SN=/env.php",
    );
    check(
        "SF=/cgi/php5|SN=/php5|PI=/env.php/x|PT=/w/env.php/x|RU=/env.php/x|DR=/w",
        "/w/env.php|/env.php|OPI=/env.php/x|OSN=/php5|SN=/env.php|PI=/x\
         |OSF=/cgi/php5|SF=/w/env.php|OPT=/w/env.php/x|PT=/w/x",
    );
    // An unchanged name is written all the same when the script exists.
    check(
        "SF=/w/hello.txt|SN=/r|PT=/w/env.php|RU=/r",
        "/w/env.php|/r|OSF=/w/hello.txt|SF=/w/env.php|OPT=/w/env.php|-PT|OSN=/r|SN=/r",
    );
    // SCRIPT_FILENAME is right already: php-fpm then runs the undivided path, and fails.
    check("SF=/w/env.php|SN=/e|PT=/w/env.php/x|RU=/e|DR=/w", "/w/env.php/x|/e|OPT=/w/env.php/x|PT=/w");
    check("SF=/w/env.php|SN=/e|PT=/w/nope|RU=/r", "404|/r|OSF=/w/env.php|-SF|OSN=/e|SN=/r");
    // REDIRECT_URL alone costs PATH_INFO, even when nothing was redirected.
    check("SF=/w/env.php|SN=/e|PI=/x|RU=/r", "/w/env.php|/e|OPI=/x|-PI");
    check("SF=/w/env.php|SN=/e|PT=/w/env.php|RU=/r", "/w/env.php|/e|OPT=/w/env.php|-PT");
}

#[test]
fn iis() {
    check(
        "SF=/w/env.php|SN=/env.php|PI=/env.php/x|SS=Microsoft-IIS/7",
        "/w/env.php|/env.php|OPI=/env.php/x|PI=/x",
    );
    check("SF=/w/env.php|SN=/env.php|PI=/env.php|SS=Microsoft-IIS/7", "/w/env.php|/env.php|OPI=/env.php|-PI");
    check("SF=/w/env.php|SN=/env.php|PI=/env.php/x|SS=microsoft-iis", "/w/env.php|/env.php");
    check("SF=/w/env.php|SN=/env.php|PI=/other|SS=Microsoft-IIS", "/w/env.php|/env.php");
    check("SF=/w/env.php|SN=|PI=|SS=Microsoft-IIS", "/w/env.php||OPI=|-PI");
}

#[test]
fn doc_root_stands_in() {
    let settings = Settings { doc_root: Some(b"/d"), ..Settings::default() };
    check_with(&settings, "SF=/w/env.php|SN=/e", "/w/env.php|/e|DR=/d");
    check_with(&settings, "SF=/w/env.php/x", "/w/env.php|none|DR=/d|OSF=/w/env.php/x|SF=/w/env.php|PT=/d");
    check_with(&settings, "SF=/w/env.php|SN=/e|DR=", "/w/env.php|/e");
    check_with(&Settings { fix_pathinfo: false, ..settings }, "SF=/w/env.php|SN=/e", "/w/env.php|/e");
    check_with(&Settings { doc_root: Some(b""), ..settings }, "SF=/w/env.php|SN=/e", "/w/env.php|/e");
}

#[test]
fn without_fix_pathinfo() {
    let settings = Settings { fix_pathinfo: false, ..Settings::default() };
    let check = |sent, expected: &str| check_with(&settings, sent, expected);
    check("SF=/w/env.php|SN=/env.php", "/w/env.php|/env.php");
    check("SF=/w/env.php|SN=/env.php|PI=", "/w/env.php|");
    check("SF=/w/env.php|SN=/env.php|PI=/x|PT=/w/x", "/w/x|/x");
    check("SF=/w/env.php/x|SN=/e", "/w/env.php/x|/e");
    check("SF=/w/missing.php|SN=/m", "/w/missing.php|/m");
    check("SF=missing", "missing|none");
    check("SF=/w/sub/../env.php", "none|none");
    check("PT=/w/env.php", "/w/env.php|none");
    check("SF=proxy:fcgi://h/w/env.php?a|SN=/e", "/w/env.php|/e|SF=/w/env.php");
    check("SF=/w/env.php|SN=/e|PI=/e/x|SS=Microsoft-IIS", "/w/env.php|/x|OPI=/e/x|PI=/x");
    let discarding = Settings { discard_path: true, ..settings };
    check_with(&discarding, "SF=/w/env.php|SN=/e|PT=/w/x", "/w/env.php|/e");
    check_with(&discarding, "PT=/w/x", "/w/x|none");
}

#[test]
fn values_end_at_nul() {
    check("SF=/w/env.php\0/x|SN=/env\0.php", "/w/env.php|/env");
    check("SF=/w/env.php/x\0y|DR=/w\0z", "/w/env.php|none|OSF=/w/env.php/x|SF=/w/env.php|PT=/w");
}
