//! Files no one would write on purpose: php-fpm and cornac refuse or accept them with the same words and exit code, and
//! cornac takes no longer than it takes to read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use cornac_tests::run::until_exit;
use cornac_tests::tester::{Files, same_verdicts};
use cornac_tests::{Runs, Setup, Side};

const GLOBAL: &str = "[global]\nerror_log = {dir}/error.log\n";

fn pool(name: &str, listen: &str) -> String {
    format!("[{name}]\nuser = {user}\nlisten = {listen}\npm = static\npm.max_children = 1\n", user = "{user}")
}

fn www() -> String {
    pool("www", "{dir}/www.sock")
}

/// A main file that ends in `line`.
fn line(name: &str, line: &[u8]) -> Files {
    Files::one(name, [GLOBAL.as_bytes(), www().as_bytes(), line].concat())
}

#[test]
fn bytes_that_are_no_text() {
    let text = format!("{GLOBAL}{}slowlog = {{dir}}/slow\n", www());
    same_verdicts(
        &[
            line("NUL in a value", b"slowlog = {dir}/a\0b\n"),
            line("NUL in a name", b"slow\0log = {dir}/a\n"),
            line("NUL alone", b"\0\n"),
            line("NUL behind a section", b"[www]\0\nslowlog = {dir}/a"),
            line("NUL in a comment", b"; \0\nslowlog = {dir}/a"),
            line("no UTF-8", b"slowlog = {dir}/\xff\xfe\xc0\n"),
            line("no UTF-8 in a name", b"\xe4\xf6 = 1\n"),
            line("no UTF-8 in a section", b"[\xff]\nlisten = 1\n"),
            line("every byte", &[&(0..=255).collect::<Vec<u8>>()[..], b"\n"].concat()),
            line("control characters", b"slowlog = {dir}/\x01\x1b[31m\n"),
            line("a BOM in the middle", "\u{feff}slowlog = {dir}/a\n".as_bytes()),
            Files::one("a BOM", format!("\u{feff}{text}")),
            Files::one("a BOM and nothing", "\u{feff}"),
            Files::one("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
            Files::one("CRLF", text.replace('\n', "\r\n")),
            Files::one("CR alone", text.replace('\n', "\r")),
            Files::one("no newline at the end", text.trim_end()),
            Files::one("CR at the end", format!("{}\r", text.trim_end())),
            Files::one("nothing", ""),
            Files::one("only newlines", "\n".repeat(1000)),
            Files::one("only CRs", "\r".repeat(1000)),
            Files::one("an ELF header", b"\x7fELF\x02\x01\x01\0\0\0\0\0".to_vec()),
        ],
        &[],
    );
}

#[test]
fn long_lines_and_large_files() {
    let megabyte = 1 << 20;
    // A quarter of one where each piece is a token.
    let value = |name: &str, piece: &str| {
        let count = if piece.len() == 1 { megabyte } else { megabyte / 4 / piece.len() };
        line(name, format!("slowlog = {{dir}}/{}\n", piece.repeat(count)).as_bytes())
    };
    same_verdicts(
        &[
            value("a long value", "x"),
            value("many pools' names", "$pool"),
            value("many dollars", "$\\"),
            value("many quotes", "''"),
            value("many strings", "'a'"),
            value("many double quotes", "\"a\" "),
            value("many variables", "${GREETING}"),
            value("many unknown variables", "${X}"),
            value("many words", "yes "),
            value("many operators", "|1"),
            value("many open parentheses", "("),
            value("many exclamation marks", "!"),
            value("many blanks", " "),
            value("many equals signs", "="),
            value("many brackets", "]"),
            value("many semicolons", ";"),
            line("a long name", format!("{} = 1\n", "x".repeat(megabyte)).as_bytes()),
            line("a long section", format!("[{}]\n", "x".repeat(megabyte)).as_bytes()),
            line("many open brackets", "[".repeat(megabyte).as_bytes()),
            line("a long comment", format!(";{}", "x".repeat(megabyte)).as_bytes()),
            line("many statements", "slowlog={dir}/x\r".repeat(megabyte / 32).as_bytes()),
            line("many lines", "\n".repeat(megabyte).as_bytes()),
            line("many reopened sections", "[WWW]\n".repeat(20_000).as_bytes()),
            line(
                "many entries",
                (0..3_000)
                    .map(|n| format!("env[A{n}]=x\nphp_value[a{n}]=y\n"))
                    .collect::<String>()
                    .as_bytes(),
            ),
        ],
        &[],
    );
}

/// Pools whose number shows what grows with its square. php-fpm compares every pool with every other one.
#[test]
fn ten_thousand_pools() {
    let pools = |count: u32| -> String {
        (0..count).map(|n| pool(&format!("p{n}"), &format!("{{dir}}/{n}.sock"))).collect()
    };
    let setup = Setup::bare(&format!("{GLOBAL}{}", pools(10_000))).arg("-t");
    let start = Instant::now();
    let text = until_exit(Side::Subject, &setup);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(text.starts_with("exit: 0") && text.contains("test is successful"), "{text}");
    let again = [pool("x", "{dir}/9.sock"), pool("y", "{dir}/8.sock")].concat();
    let twice = format!("{GLOBAL}{}{again}", pools(2_000));
    let mut runs = Runs::default();
    runs.compare("a socket of two thousand twice", None, |side| {
        until_exit(side, &Setup::bare(&twice).arg("-t"))
    });
    runs.finish();
}

#[test]
fn pools_twice() {
    let (a, b) = (pool("a", "{dir}/a.sock"), pool("b", "{dir}/b.sock"));
    let many = [("z", "1"), ("a", "2"), ("b", "3"), ("c", "2"), ("d", "3"), ("e", "1")];
    let many: String = many.iter().map(|(name, port)| pool(name, &format!("900{port}"))).collect();
    let cases = [
        ("the same name again", format!("{a}{b}[A]\nslowlog = {{dir}}/x\n")),
        ("the same address in other words", format!("{a}{}", pool("b", "{dir}//a.sock"))),
        ("the same address", format!("{a}{}", pool("b", "{dir}/a.sock"))),
        ("several addresses twice", many),
        ("the address of a status pool", format!("{a}pm.status_listen = {{dir}}/b.sock\n{b}")),
        ("the name of a status pool", format!("{a}pm.status_listen = 9001\n{}", pool("a_status", "9002"))),
        ("a pool named global", format!("{a}[GLOBAL]\nlog_limit = 2000\n{b}")),
        ("an empty name", format!("{a}{}", pool("", "9001"))),
        ("a name of blanks and slashes", format!("{a}{}slowlog = {{dir}}/$pool\n", pool("x y/../z", "9001"))),
        ("a pool of nothing", format!("{a}[b]\n")),
    ];
    let cases = cases.map(|(name, text)| Files::one(name, format!("{GLOBAL}{text}")));
    same_verdicts(&cases, &["-p", "{dir}"]);
}

#[test]
fn includes() {
    let www = www();
    let main = |name: &str, text: &str| Files::one(name, format!("{GLOBAL}{text}"));
    let twice = format!("include = {{dir}}/a\n{www}include = {{dir}}/a\n");
    same_verdicts(
        &[
            main("of itself", "include = {dir}/fpm.conf\n"),
            main("of each other", "include = {dir}/a\n").with("a", "include = {dir}/fpm.conf\n"),
            main("of itself by a pattern", "include = {dir}/fpm.c*\n"),
            main("of a folder", &format!("{www}include = {{dir}}/www\n")),
            main("of a folder with a slash", &format!("{www}include = {{dir}}/www/\n")),
            main("of nothing", &format!("{www}include =\n")),
            main("of a missing file", &format!("{www}include = {{dir}}/none.conf\n")),
            main("in a missing folder", &format!("{www}include = {{dir}}/none/*.conf\n")),
            main("below a file", &format!("{www}include = {{dir}}/fpm.conf/*\n")),
            main("of a binary", &format!("{www}include = {{dir}}/a\n")).with("a", vec![0x80; 5000]),
            main("of an empty file", &format!("{www}include = {{dir}}/a\nslowlog = {{dir}}/x\n"))
                .with("a", ""),
            main("twice", &twice).with("a", "log_limit = 600"),
            main("with an error", &format!("{www}\ninclude = {{dir}}/a\n")).with("a", "\n\nnothing = 1"),
            main("an error behind it", &format!("include = {{dir}}/a\n{www}\nnothing = 1\n"))
                .with("a", "\n\n\n"),
            main("relative", &format!("{www}include = r/*.conf\n")).with("r/b.conf", "slowlog = {dir}/x\n"),
            main("of hidden files", &format!("{www}include = {{dir}}/h/*\n")).with("h/.x", "nothing = 1\n"),
            main("in order", &format!("{www}include = {{dir}}/o/*\n"))
                .with("o/b", "slowlog = {dir}/b\n")
                .with("o/a", "slowlog = {dir}/a\n")
                .with("o/B", "slowlog = {dir}/B\n")
                .with("o/10", "slowlog = {dir}/10\n"),
            main("with a pool's name", &format!("{www}include = {{dir}}/$pool\n")),
            main("with a variable", &format!("{www}include = {{dir}}/${{GREETING}}\n"))
                .with("hallo", "slowlog = {dir}/x"),
            main("of a device", &format!("{www}include = /dev/null\n")),
            main("of many stars", &format!("{www}include = {{dir}}/{}x\n", "*a".repeat(200))),
        ],
        &["-p", "{dir}"],
    );
}

/// php-fpm reads until there is no memory left.
#[test]
fn a_file_without_end() {
    let setup = Setup::bare("include = /dev/zero\n").arg("-t");
    let text = until_exit(Side::Subject, &setup);
    assert!(text.starts_with("exit: 78"), "{text}");
    assert!(text.contains("ERROR: failed to open configuration file '/dev/zero': file too large"), "{text}");
}

/// Root reads everything; so as somebody else.
#[test]
fn unreadable_files() {
    if cornac_tests::skip_unless_root("files that the user cannot read", 3) {
        return;
    }
    let folder = tempfile::tempdir().expect("own folder");
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("own folder");
    fs::write(path("secret"), "").expect("own folder");
    fs::create_dir(path("locked")).expect("own folder");
    for name in ["secret", "locked"] {
        fs::set_permissions(path(name), Permissions::from_mode(0o000)).expect("own folder");
    }
    let show = |name: &str| path(name).to_string_lossy().into_owned();
    let pool = "[www]\nlisten = /nowhere/www.sock\npm = static\npm.max_children = 1\n";
    for (name, text) in [
        ("a", format!("error_log = /dev/null\n{pool}include = {}\n", show("secret"))),
        ("b", format!("error_log = /dev/null\n{pool}include = {}/*\n", show("locked"))),
        ("c", format!("error_log = /dev/null\n{pool}include = {}/x\n", show("locked"))),
    ] {
        fs::write(path(name), text).expect("own folder");
    }
    let mut runs = Runs::default();
    for name in ["secret", "a", "b", "c"] {
        let words = ["-t".to_owned(), "-y".to_owned(), show(name)];
        runs.compare(name, None, |side| cornac_tests::tester::as_nobody(side, &words));
    }
    runs.finish();
}
