//! The access log: every field of its format, what is left out, and where lines go. `log_rotation.rs` opens it again.

use std::os::unix::fs::MetadataExt;

use cornac_tests::binary::is_root;
use cornac_tests::run::until_exit;
use cornac_tests::{Case, Client, Pair, Request, Server, Setup, compare_runs, wait};
use nix::sys::signal::Signal;

const SCRIPT: &str = "<?php header('X-Own: own value'); http_response_code((int)($_GET['code'] ?? 200)); register_shutdown_function(fn () => header('X-Late: 1')); echo str_repeat('x', 1000);";

fn with_log(format: &str, more: &str) -> Setup {
    let lines = format!("access.log = {{dir}}/access.log\naccess.format = {format}\n{more}");
    Setup::new().www(&lines).script("x.php", SCRIPT)
}

/// A request as it looks to the access log.
fn uri(name: &str, uri: &str, query: &str) -> Case {
    Case::get(name, "/x.php").query(query).param("SCRIPT_NAME", uri)
}

fn logged(format: &str, more: &str) {
    let more = format!("{more}\nping.path = /ping\npm.status_path = /status\ncatch_workers_output = yes");
    let mut pair = Pair::start(&with_log(format, &more));
    pair.cases([
        Case::get("plain", "/x.php"),
        Case::get("query", "/x.php?code=404&a=\"b\"&c=<d>"),
        Case::get("user", "/x.php").param("HTTP_AUTHORIZATION", "Basic am9lOng="),
        Case::get("user without password", "/x.php").param("HTTP_AUTHORIZATION", "Basic am9l"),
        Case::get("remote user", "/x.php").param("REMOTE_USER", "other"),
        Case::get("post", "/x.php").post("text/plain", "content"),
        Case::get("head", "/x.php").method("HEAD"),
        Case::get("a long method", "/x.php").method("ABCDEFGHIJKLMNOPQRST"),
        Case::get("missing", "/none.php"),
        Case::get("forbidden", "/x.txt"),
        Case::get("no method", "/x.php").without("REQUEST_METHOD"),
        Case::get("no script", "/x.php").without("SCRIPT_FILENAME"),
        Case::get("path info", "/x.php/more/info"),
        Case::php("fatal", "<?php nothing();"),
        Case::php("exit", "<?php http_response_code(299); exit(3);"),
        Case::php("moved", "<?php header('Location: /there'); header('X-Own:tight'); header('X-Two: 1'); header('X-Two: 2', false);"),
        Case::php("finished early", "<?php fastcgi_finish_request(); http_response_code(500);"),
        Case::php("status by header", "<?php header('HTTP/1.1 418 Teapot');"),
        Case::php("type", "<?php header('Content-Type: text/x-own');"),
        Case::get("long", &format!("/x.php?{}", "y".repeat(3000))),
        uri("long uri", &format!("/{}", "z".repeat(300)), ""),
        uri("ping", "/ping", ""),
        uri("ping with query", "/ping", "a"),
        uri("head of ping", "/ping", "").method("HEAD"),
        uri("no uri", "", ""),
        Case::get("bytes", "/x.php").with(|_, request| request.param("SCRIPT_NAME", b"/\xff\x01\t\"\\")),
        Case::get("bytes in the query", "/x.php").with(|_, request| request.param("QUERY_STRING", b"\xff\n\x1b[1m")),
        Case::get("two requests", "/x.php").times(2),
    ]);
    // A line is written before its answer is complete: no need to wait.
    pair.same("access.log", |server| server.read("access.log"));
    pair.finish();
}

#[test]
fn default_format_but_for_the_time() {
    logged("\"%R - %u [masked] \\\"%m %r\\\" %s\"", "");
}

#[test]
fn fields() {
    logged(
        "\"%% %f %l %m %n %q %Q %r %R %s %u %{REQUEST_METHOD}e %{HTTP_HOST}e %{NONE}e %{PATH_INFO}e %{FCGI_ROLE}e\"",
        "",
    );
}

#[test]
fn headers_of_the_response() {
    logged(
        "\"%{X-Own}o|%{x-own}o|%{X-Late}o|%{Content-type}o|%{Content-Type}o|%{Location}o|%{X-Two}o|%{Cache-Control}o|%{Status}o|%{own value}o\"",
        "",
    );
}

#[test]
fn odd_formats() {
    for format in [
        "\"%m\"",
        "\"\"",
        "\"%q%u\"",
        "\"100%% %\"",
        "\"%{a}{REQUEST_METHOD}e end\"",
        "\"%{MILLISECONDS}d\"  ; a comment",
        "plain",
        "\"%{%d/%%}t\"",
        "\"tab\tin it %m\"",
        "%m",
    ] {
        let mut pair = Pair::start(&with_log(format, ""));
        pair.cases([Case::get("one", "/x.php"), Case::get("two", "/x.php?a=b")]);
        pair.same(&format!("log of {format}"), |server| {
            let text = server.read("access.log");
            if format.contains("MILLI") { text.split('.').count().to_string() } else { text }
        });
        pair.finish();
    }
}

#[test]
fn formats_that_are_refused() {
    for format in ["%X", "%{x}m", "%e", "%o", "%{x", "%{x}", "%{x}C", "%{x}d", "%{x}M", "%}", "%{x}%", "%"] {
        let setup = with_log(&format!("\"{format}\""), "").arg("-t");
        compare_runs(format, None, |side| until_exit(side, &setup));
    }
}

#[test]
fn suppressed_paths() {
    let paths =
        "access.suppress_path[] = /x.php\naccess.suppress_path[] = /none.php\naccess.suppress_path[] = /ping";
    logged("\"%m %r%Q%q %s\"", paths);
}

#[test]
fn nothing_but_the_path_is_suppressed() {
    logged("\"%m %r%Q%q %s\"", "access.suppress_path[] = /x.ph\naccess.suppress_path[] = /");
}

#[test]
fn times_and_numbers() {
    let format =
        "\"%t|%T|%{%Y}t|%{%s}T|%d|%{micro}d|%{milli}d|%M|%{kilo}M|%{mega}M|%C|%{system}C|%{USER}C|%p|%P\"";
    let mut pair = Pair::start(&with_log(format, ""));
    pair.same("shape", |server| {
        server.get("/x.php");
        let pids = [
            server.workers("www").first().map_or(0, |worker| worker.pid).to_string(),
            server.master().to_string(),
        ];
        let line = server.read("access.log");
        let fields: Vec<&str> = line.trim().split('|').collect();
        let digits = regex::Regex::new(r"\d+(\.\d+)?").expect("pattern");
        let decimals = |number: &regex::Captures<'_>| {
            let decimals = number.get(1).map_or(0, |part| part.len() - 1);
            format!("number with {decimals} decimals")
        };
        let shapes: Vec<_> = fields[..13].iter().map(|field| digits.replace_all(field, decimals)).collect();
        let at_the_end = fields[13..].iter().map(|field| pids.iter().position(|pid| pid == field));
        format!("{shapes:?} {:?}", at_the_end.collect::<Vec<_>>())
    });
    pair.finish();
}

/// The numbers say the same in each unit, and what a script used.
#[test]
fn numbers_are_true() {
    let setup = with_log("\"%d %{milli}d %{micro}d %M %{mega}M %C\"", "php_admin_value[memory_limit] = 64M")
        .script("slow.php", "<?php usleep(60000); $s = str_repeat('x', 9 << 20);")
        .script("child.php", "<?php exec('i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done');")
        .script("busy.php", "<?php $used = fn () => ($r = getrusage())['ru_utime.tv_sec'] * 1e6 + $r['ru_utime.tv_usec'] + $r['ru_stime.tv_sec'] * 1e6 + $r['ru_stime.tv_usec']; $end = $used() + 200000; while ($used() < $end);");
    let mut pair = Pair::start(&setup);
    pair.same("a slow script", |server| {
        server.get("/slow.php");
        let line = server.read("access.log");
        let numbers: Vec<f64> = line.split_whitespace().map(|field| field.parse().expect("number")).collect();
        let [seconds, millis, micros, bytes, megabytes, _] = numbers[..] else { panic!("{line}") };
        assert!((60_000.0..10_000_000.0).contains(&micros), "{line}");
        assert!((seconds * 1e6 - micros).abs() <= 501.0 && (millis * 1e3 - micros).abs() <= 1.0, "{line}");
        format!("{bytes} {megabytes}")
    });
    let used = |server: &Server, script: &str| -> f64 {
        server.get(script);
        let line = server.read("access.log").lines().last().unwrap_or_default().to_owned();
        let numbers: Vec<f64> = line.split_whitespace().map(|field| field.parse().expect("number")).collect();
        numbers[0] * numbers[5] / 100.0
    };
    pair.same("a script that uses a fifth of a second", |server| {
        let seconds = used(server, "/busy.php");
        // php-fpm counts in hundredths.
        assert!((0.18..0.25).contains(&seconds), "{seconds}");
        String::new()
    });
    pair.same("a program that a script waits for", |server| {
        let seconds = used(server, "/child.php");
        assert!(seconds > 0.05, "{seconds}");
        String::new()
    });
    pair.finish();
}

/// In the time zone of the system, in the script's locale; the master's TZ goes with its environment.
#[test]
fn local_times() {
    for (name, lines) in [("cleared", ""), ("kept", "clear_env = no"), ("set", "env[TZ] = Asia/Tokyo")] {
        let setup = with_log("\"%{%Z %z}t %{%Z %z}T\"", lines).env("TZ", "America/New_York");
        let mut pair = Pair::start(&setup.script("tz.php", "<?php putenv('TZ=Asia/Kolkata');"));
        pair.same(name, |server| {
            for script in ["/x.php", "/tz.php", "/x.php"] {
                server.get(script);
            }
            server.read("access.log")
        });
        pair.ignore_log();
        pair.finish();
    }
}

#[test]
fn peers_over_tcp() {
    for (listen, peers) in [
        ("127.0.0.1:{port}", &["127.0.0.1"][..]),
        ("[::1]:{port}", &["::1"]),
        ("{port}", &["127.0.0.1", "::1"]),
    ] {
        let lines = format!("listen = {listen}\nlisten.allowed_clients = 127.0.0.1,::1");
        let setup = with_log("\"%R %r\"", &lines).pool("second", "");
        let mut pair = Pair::start(&setup);
        pair.same(listen, |server| {
            for peer in peers {
                let address = (peer.parse::<std::net::IpAddr>().expect("address"), server.port(0)).into();
                let mut client = Client::tcp(address).expect("connection");
                let request = Request::get(server, "/x.php").keep();
                client.send(&request);
                client.send(&request);
            }
            server.read("access.log")
        });
        pair.finish();
    }
}

/// php-fpm's line ends with a NUL byte then, which makes the log a binary file for `grep`.
#[test]
fn lines_that_are_too_long() {
    let long = "l".repeat(1020);
    for (name, format) in [
        ("fields", "\"%q%q%q end\"".to_owned()),
        ("text", format!("\"{long}{long}%m\"")),
        ("text that just fits", format!("\"{long}1234\"")),
        ("text and a field", format!("\"{long}1%m\"")),
        ("a field that just fits", format!("\"{long}%m\"")),
        ("a full line and nothing more", format!("\"{long}1234%q\"")),
    ] {
        let mut pair = Pair::start(&with_log(&format, "catch_workers_output = yes"));
        pair.same(name, |server| {
            server.get(&format!("/x.php?{}", "q".repeat(600)));
            server.get("/x.php");
            server.read("access.log").replace('\0', "")
        });
        pair.finish();
    }
    let mut pair = Pair::start(&with_log("\"%q%q%q\"", ""));
    pair.differs("the NUL byte", "a log should be text", |server| {
        server.get(&format!("/x.php?{}", "q".repeat(600)));
        server.read("access.log").contains('\0').to_string()
    });
    pair.finish();
}

#[test]
fn requests_that_leave_no_line() {
    let mut pair = Pair::start(&with_log("\"%m %r %s\"", ""));
    pair.cases([
        Case::php("killed", "<?php posix_kill(getmypid(), 9); sleep(1);"),
        Case::get("after that", "/x.php"),
        Case::php("memory exhausted", "<?php ini_set('memory_limit', '2M'); str_repeat('x', 1 << 30);"),
    ]);
    pair.same("a connection without a request", |server| {
        let mut client = server.connect();
        client.end_writing();
        client.at_end().to_string()
    });
    pair.same("access.log", |server| server.read("access.log"));
    pair.ignore_log();
    pair.finish();
}

#[test]
fn where_the_file_is() {
    let time = regex::Regex::new(r"\d\d/\w+/[\d: +]+").expect("pattern");
    for (name, lines, file) in [
        ("relative", "prefix = {dir}\naccess.log = tmp/$pool.log", "tmp/www.log"),
        ("absolute", "access.log = {dir}/tmp/a.log", "tmp/a.log"),
        ("default format", "access.log = {dir}/tmp/a.log\naccess.format = \"%R - %u %m %r %s\"", "tmp/a.log"),
    ] {
        let setup = Setup::new().www(lines).script("x.php", SCRIPT).file("left", "");
        let mut pair = Pair::start(&setup);
        pair.same(name, |server| {
            server.get("/x.php?a=b");
            let facts = std::fs::metadata(server.dir().join(file)).expect("the log");
            let owner = if is_root() { (facts.uid(), facts.gid()) == (0, 0) } else { true };
            format!("{:o} {owner} {}", facts.mode(), time.replace_all(&server.read(file), "{time}"))
        });
        pair.finish();
    }
}

#[test]
fn an_existing_file_is_appended_to() {
    let setup = with_log("\"%m\"", "").file("access.log", "before\n");
    let mut pair = Pair::start(&setup);
    pair.same("content", |server| {
        server.get("/x.php");
        let mode = std::fs::metadata(server.dir().join("access.log")).expect("the log").mode();
        format!("{mode:o} {}", server.read("access.log"))
    });
    pair.finish();
}

#[test]
fn logs_that_cannot_be_opened() {
    for (name, lines) in [
        ("no folder", "access.log = {dir}/none/access.log"),
        ("a folder", "access.log = {dir}/www"),
        ("nothing", "access.log ="),
    ] {
        let setup = Setup::new().www(lines);
        compare_runs(name, None, |side| until_exit(side, &setup));
    }
}

/// Also after the logs have been opened again, when the master's stderr has become the error log.
#[test]
fn standard_descriptors() {
    for name in ["/proc/self/fd/2", "/dev/stderr", "/dev/stdout", "/proc/self/fd/1"] {
        let lines = format!("access.log = {name}\naccess.format = \"access %m %r\"");
        let mut pair = Pair::start(&Setup::new().www(&lines).script("x.php", SCRIPT));
        pair.same(name, |server| {
            server.get("/x.php");
            let worker = server.workers("www");
            server.signal(Signal::SIGUSR1);
            server.wait_log("access log file re-opened");
            let gone = wait::until(|| (!worker.iter().any(|worker| worker.lives())).then_some(()));
            server.get("/x.php?again");
            format!("{:?} {}\n{}", gone, server.stdout(), server.stderr())
        });
        pair.ignore_log();
        pair.finish();
    }
}

/// Lines of several workers never mix.
#[test]
fn lines_are_whole() {
    let long = "%r ".repeat(60);
    let setup = with_log(&format!("\"{long}end\""), "pm.max_children = 4");
    let mut pair = Pair::start(&setup);
    pair.same("lines", |server| {
        std::thread::scope(|scope| {
            for worker in 0..4 {
                scope.spawn(move || {
                    for number in 0..100 {
                        let name = format!("/{worker}-{number}");
                        server.send(&Request::get(server, "/x.php").param("SCRIPT_NAME", name));
                    }
                });
            }
        });
        let text = server.read("access.log");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    });
    pair.finish();
}
