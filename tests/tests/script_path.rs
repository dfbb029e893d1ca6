//! From the parameters of a web server to the script: plain nginx, split paths, Apache's proxies, mod_fastcgi, IIS,
//! with and without cgi.fix_pathinfo; files that are missing, forbidden or of the wrong kind.

use std::os::unix::fs::PermissionsExt;

use cornac_tests::{Case, Pair, Setup, skip_unless_root};

const DUMP: &str = "<?php foreach (['SCRIPT_FILENAME', 'SCRIPT_NAME', 'PATH_INFO', 'PATH_TRANSLATED', 'PHP_SELF', 'REQUEST_URI', 'DOCUMENT_ROOT', 'REDIRECT_URL', 'ORIG_SCRIPT_FILENAME', 'ORIG_SCRIPT_NAME', 'ORIG_PATH_INFO', 'ORIG_PATH_TRANSLATED'] as $k) echo $k, '=', var_export($_SERVER[$k] ?? null, true), \"\\n\"; echo __FILE__, ' ', getcwd();";

/// A request with exactly these parameters beside DOCUMENT_ROOT; `W` at the start of a value, or after `%`, is the root.
fn sent(name: &str, params: &[(&str, &str)]) -> Case {
    let mut case = Case::get(name, "/env.php");
    for gone in ["SCRIPT_FILENAME", "SCRIPT_NAME", "DOCUMENT_URI", "REQUEST_URI"] {
        case = case.without(gone);
    }
    params.iter().fold(case, |case, (name, value)| case.param(name, &value.replace("W/", "{dir}/www/")))
}

fn table() -> Vec<Case> {
    const SF: &str = "SCRIPT_FILENAME";
    const SN: &str = "SCRIPT_NAME";
    const PI: &str = "PATH_INFO";
    const PT: &str = "PATH_TRANSLATED";
    let apache = "proxy:fcgi://localhost:9000W/";
    let apache = |rest: &str| format!("{apache}{rest}");
    vec![
        sent("nginx plain", &[(SF, "W/env.php"), (SN, "/env.php"), (PI, "")]),
        sent("nginx plain, no path info", &[(SF, "W/env.php"), (SN, "/env.php")]),
        sent("nginx without split", &[(SF, "W/env.php/pi/x"), (SN, "/env.php/pi/x")]),
        sent("nginx with split", &[(SF, "W/env.php"), (SN, "/env.php"), (PI, "/pi/x"), (PT, "W/pi/x")]),
        sent("full file name and path info", &[(SF, "W/env.php/pi/x"), (SN, "/env.php"), (PI, "/pi/x")]),
        sent(
            "path info is the whole URI",
            &[(SF, "W/env.php/pi/x"), (PT, "W/env.php/pi/x"), (SN, "/php-fpm"), (PI, "/env.php/pi/x")],
        ),
        sent("path info shorter than the rest", &[(SF, "W/env.php/long/path"), (SN, "/env.php"), (PI, "/p")]),
        sent("path info underflow", &[(SF, "W/env.php/a/b/c/d/e/f"), (SN, "/env.php/a/b/c/d/e/f"), (PI, "")]),
        sent("upload trick", &[(SF, "W/hello.txt/x.php"), (SN, "/hello.txt/x.php")]),
        sent("Apache SetHandler", &[(SF, &apache("env.php")), (SN, "/env.php")]),
        sent(
            "Apache SetHandler and path",
            &[(SF, &apache("env.php/pi/x")), (SN, "/env.php"), (PI, "/pi/x"), (PT, "W/pi/x")],
        ),
        sent("Apache ProxyPassMatch", &[(SF, &apache("env.php/pi/x?a=b")), (SN, "/env.php/pi/x")]),
        sent("Apache balancer", &[(SF, "proxy:balancer://myclW/env.php/pi"), (SN, "/env.php/pi")]),
        sent(
            "Apache decoded file, encoded name",
            &[(SF, &apache("a b+c/env.php/p q+r")), (SN, "/a%20b+c/env.php/p%20q+r")],
        ),
        sent("Apache encoded tail", &[(SF, &apache("env.php/p%20q+r")), (SN, "/env.php/p q+r")]),
        sent("Apache encoded folder", &[(SF, &apache("a%20b+c/env.php/p")), (SN, "/a%20b+c/env.php/p")]),
        sent("Apache upper case", &[(SF, "PROXY:FCGI://localhost:9000W/env.php"), (SN, "/env.php")]),
        sent("Apache without path", &[(SF, "proxy:fcgi://localhost"), (SN, "/env.php")]),
        sent(
            "Apache ProxyFCGIBackendType",
            &[(SF, &apache("env.php")), (SN, "/env.php"), ("CONTEXT_DOCUMENT_ROOT", "W/")],
        ),
        sent(
            "mod_fastcgi Action",
            &[
                (SF, "/usr/lib/cgi-bin/php5-fcgi"),
                (SN, "/php5-fcgi"),
                (PI, "/env.php"),
                (PT, "W/env.php"),
                ("REDIRECT_URL", "/env.php"),
            ],
        ),
        sent(
            "mod_fastcgi Action and path",
            &[
                (SF, "/usr/lib/cgi-bin/php5-fcgi"),
                (SN, "/php5-fcgi"),
                (PI, "/env.php/pi"),
                (PT, "W/env.php/pi"),
                ("REDIRECT_URL", "/env.php/pi"),
            ],
        ),
        sent(
            "REDIRECT_URL with a plain script",
            &[(SF, "W/env.php"), (SN, "/env.php"), ("REDIRECT_URL", "/pretty"), (PI, "/pi"), (PT, "W/pi")],
        ),
        sent(
            "IIS",
            &[
                ("SERVER_SOFTWARE", "Microsoft-IIS/10.0"),
                (SF, "W/env.php"),
                (SN, "/env.php"),
                (PI, "/env.php/pi"),
            ],
        ),
        sent(
            "IIS without rest",
            &[
                ("SERVER_SOFTWARE", "Microsoft-IIS/10.0"),
                (SF, "W/env.php"),
                (SN, "/env.php"),
                (PI, "/env.php"),
            ],
        ),
        sent("no document root", &[(SF, "W/env.php/pi/x"), (SN, "/env.php/pi/x")]).without("DOCUMENT_ROOT"),
        sent("no document root, path info", &[(SF, "W/env.php/pi/x"), (SN, "/env.php"), (PI, "/pi/x")])
            .without("DOCUMENT_ROOT"),
        sent("only path translated", &[(PT, "W/env.php"), (SN, "/env.php")]),
        sent("nothing", &[]),
        sent("trailing slash", &[(SF, "W/env.php/"), (SN, "/env.php/")]),
        sent("two slashes", &[(SF, "W//env.php"), (SN, "//env.php")]),
        sent("dot", &[(SF, "W/./env.php"), (SN, "/./env.php")]),
        sent("dot dot", &[(SF, "W/sub/../env.php"), (SN, "/env.php")]),
        sent("directory", &[(SF, "W/sub"), (SN, "/sub")]),
        sent("directory with slash", &[(SF, "W/sub/"), (SN, "/sub/")]),
        sent("directory named like a script", &[(SF, "W/folder.php"), (SN, "/folder.php")]),
        sent("relative", &[(SF, "env.php"), (SN, "/env.php")]),
        sent("missing", &[(SF, "W/none.php"), (SN, "/none.php")]),
        sent("missing folder", &[(SF, "W/none/env.php"), (SN, "/none/env.php")]),
        sent("missing, with query", &[(SF, "W/none.php"), (SN, "/none.php"), ("QUERY_STRING", "a=b")]),
        sent("empty file name", &[(SF, ""), (SN, "/env.php")]),
        sent("wrong suffix", &[(SF, "W/hello.txt"), (SN, "/hello.txt")]),
        sent("upper-case suffix", &[(SF, "W/upper.PHP"), (SN, "/upper.PHP")]),
        sent("phar suffix", &[(SF, "W/plain.phar"), (SN, "/plain.phar")]),
        sent("symbolic link", &[(SF, "W/link.php"), (SN, "/link.php")]),
        sent("encoded name is taken literally", &[(SF, "W/%65nv.php"), (SN, "/%65nv.php")]),
        sent("name with blank", &[(SF, "W/a b+c/env.php"), (SN, "/a b+c/env.php")]),
        sent("NUL in the name", &[(SF, "W/env.php\0.txt"), (SN, "/env.php")]),
        sent("very long path", &[(SF, &format!("W/{}env.php", "x/".repeat(3000))), (SN, "/env.php")]),
        sent(
            "long path info",
            &[
                (SF, &format!("W/env.php/{}", "y".repeat(3000))),
                (SN, "/env.php"),
                (PI, &format!("/{}", "y".repeat(3000))),
            ],
        ),
        sent("null device", &[(SF, "/dev/null"), (SN, "/dev/null")]),
        sent("url as script", &[(SF, "http://127.0.0.1/x.php"), (SN, "/x.php")]),
        sent("stream wrapper as script", &[(SF, "phar://W/plain.phar"), (SN, "/x.php")]),
    ]
}

fn setup() -> Setup {
    Setup::new()
        .script("env.php", DUMP)
        .script("a b+c/env.php", DUMP)
        .script("sub/env.php", DUMP)
        .script("folder.php/x.txt", "")
        .script("hello.txt", "hello")
        .script("upper.PHP", "upper")
        .script("plain.phar", "plain")
}

fn run(setup: &Setup) {
    let mut pair = Pair::start(setup);
    for server in pair.servers() {
        std::os::unix::fs::symlink("env.php", server.www("link.php")).expect("link in own folder");
    }
    pair.cases(table());
    pair.finish();
}

#[test]
fn fix_pathinfo() {
    run(&setup());
}

#[test]
fn no_fix_pathinfo() {
    run(&setup().www("php_admin_flag[cgi.fix_pathinfo] = off"));
}

#[test]
fn no_fix_pathinfo_on_command_line_and_discard_path() {
    run(&setup().arg("-d").arg("cgi.fix_pathinfo=0").arg("-d").arg("cgi.discard_path=1"));
}

#[test]
fn document_root_of_the_ini_file() {
    let setup = setup().www("php_admin_value[doc_root] = {dir}/www");
    let mut pair = Pair::start(&setup);
    pair.cases([
        sent("absolute", &[("SCRIPT_FILENAME", "W/env.php"), ("SCRIPT_NAME", "/env.php")]),
        sent("below doc_root", &[("SCRIPT_FILENAME", "/env.php"), ("SCRIPT_NAME", "/env.php")]),
        sent("no document root", &[("SCRIPT_FILENAME", "W/env.php/pi"), ("SCRIPT_NAME", "/env.php")])
            .without("DOCUMENT_ROOT"),
    ]);
    pair.finish();
}

#[test]
fn limit_extensions() {
    for (name, line) in [("two", ".php .txt"), ("without dot", "php"), ("none", ""), ("no php", ".html")] {
        let mut pair = Pair::start(
            &setup()
                .www(&format!("security.limit_extensions = {line}"))
                .script("x.notphp", "x")
                .script("bare", "y"),
        );
        let case = |file: &str| {
            sent(
                &format!("{name}, {file}"),
                &[("SCRIPT_FILENAME", &format!("W/{file}")), ("SCRIPT_NAME", "/x")],
            )
        };
        pair.cases(["env.php", "hello.txt", "x.notphp", "bare", "upper.PHP"].map(case));
        pair.finish();
    }
}

#[test]
fn open_basedir() {
    let mut pair = Pair::start(&setup().www("php_admin_value[open_basedir] = {dir}/www/sub"));
    pair.cases([
        sent("inside", &[("SCRIPT_FILENAME", "W/sub/env.php"), ("SCRIPT_NAME", "/sub/env.php")]),
        sent("outside", &[("SCRIPT_FILENAME", "W/env.php"), ("SCRIPT_NAME", "/env.php")]),
    ]);
    pair.finish();
}

#[test]
fn unreadable() {
    if skip_unless_root("unreadable scripts", 3) {
        return;
    }
    let mut pair = Pair::start(&setup().script("secret.php", "secret").script("closed/env.php", DUMP));
    for server in pair.servers() {
        for (file, mode) in [("secret.php", 0o600), ("closed", 0o700)] {
            std::fs::set_permissions(server.www(file), std::fs::Permissions::from_mode(mode))
                .expect("own file");
        }
    }
    pair.cases([
        sent("file", &[("SCRIPT_FILENAME", "W/secret.php"), ("SCRIPT_NAME", "/secret.php")]),
        sent("folder", &[("SCRIPT_FILENAME", "W/closed/env.php"), ("SCRIPT_NAME", "/closed/env.php")]),
        sent("file with path", &[("SCRIPT_FILENAME", "W/secret.php/pi"), ("SCRIPT_NAME", "/secret.php/pi")]),
    ]);
    pair.finish();
}
