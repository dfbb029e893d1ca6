//! Ping and status pages: all forms, what their query means, what they show of requests, and the pool of
//! `pm.status_listen`. Which numbers are meant to differ from php-fpm's is in `numbers.rs`.

use std::process::Command;

use cornac_tests::compare::mask;
use cornac_tests::run::until_exit;
use cornac_tests::{Case, Client, Pair, Reply, Request, Server, Setup, compare_runs, wait};
use nix::sys::signal::Signal;

/// Numbers that depend on time, and the length of a unix socket's queue, which php-fpm does not know; the rest of a
/// status page must be equal.
const TIMES: [&str; 3] = [
    r#"(?x) (start[-_\ ](time|since)|request[-_\ ]duration|last[-_\ ]request[-_\ ](cpu|memory)|listen[-_\ ]queue[-_\ ]len|pid)(:\s*|"?:|>|</th><td>)"?[\d.:/A-Za-z+\ ]+ "#,
    r"phpfpm_(start_since|listen_queue_length) \d+",
    r"<tr><td>\d+</td><td>\w+</td>(<td>[^<]*</td>){2}|<td>[\d.]+</td><td>\d+</td></tr>|<td>\d+</td><td>GET</td>",
];

fn page(name: &str, path: &str, query: &str) -> Case {
    let case = Case::get(name, "/x.php").query(query).param("SCRIPT_NAME", path).param("REQUEST_URI", path);
    TIMES.iter().fold(case, |case, pattern| case.mask(pattern))
}

fn masked(server: &Server, reply: &Reply) -> String {
    let masks = TIMES.map(|pattern| regex::Regex::new(pattern).expect("pattern of a mask"));
    mask(server, &reply.to_text(), &masks)
}

fn with_pages(lines: &str) -> Setup {
    Setup::new()
        .www(&format!("ping.path = /ping\npm.status_path = /status\n{lines}"))
        .script("x.php", "<?php echo 'script';")
}

#[test]
fn ping() {
    let mut pair = Pair::start(&with_pages("ping.response = \"pong <b> ' \u{e4}\"").script("ping", "a file"));
    pair.cases([
        page("get", "/ping", ""),
        page("with query", "/ping", "json&full"),
        page("post", "/ping", "").post("text/plain", "content"),
        page("head", "/ping", "").method("HEAD"),
        page("any method", "/ping", "").method("BREW"),
        page("method in small letters", "/ping", "").method("head"),
        page("no method", "/ping", "").without("REQUEST_METHOD"),
        page("script that does not exist", "/ping", "").param("SCRIPT_FILENAME", "{dir}/www/none"),
        page("script that may not run", "/ping", "").param("SCRIPT_FILENAME", "{dir}/www/x.txt"),
        page("no script", "/ping", "").without("SCRIPT_FILENAME"),
        page("empty script", "/ping", "").param("SCRIPT_FILENAME", ""),
        page("PATH_TRANSLATED alone", "/ping", "")
            .without("SCRIPT_FILENAME")
            .param("PATH_TRANSLATED", "{dir}/www/x.php"),
        page("no SCRIPT_NAME", "/ping", "").without("SCRIPT_NAME"),
        page("with slash", "/ping/", ""),
        page("longer", "/pinging", ""),
        page("shorter", "/pin", ""),
        page("other case", "/PING", ""),
        page("with a NUL behind", "/ping\0x", ""),
        page("path info", "/x.php", "").param("PATH_INFO", "/ping").param("SCRIPT_NAME", ""),
        page("the script itself", "/x.php", ""),
    ]);
    pair.finish();
}

#[test]
fn forms() {
    let mut pair = Pair::start(&with_pages(""));
    pair.cases([Case::get("a request before", "/x.php")
        .query("a=<b>&c=\"d\"")
        .param("HTTP_AUTHORIZATION", "Basic am9lOng=")]);
    for form in ["", "json", "xml", "html", "openmetrics"] {
        pair.case(&page(&format!("status?{form}"), "/status", form));
        pair.case(&page(&format!("status?full&{form}"), "/status", &format!("full&{form}")));
        pair.case(&page(&format!("HEAD status?{form}"), "/status", form).method("HEAD"));
    }
    pair.cases([
        page("post", "/status", "json").post("text/plain", "content"),
        page("words in a body", "/status", "").post("application/x-www-form-urlencoded", "json=1&full=1"),
        page("words in a cookie", "/status", "").param("HTTP_COOKIE", "json=1; full=1"),
        page("longer", "/status/x", ""),
        page("no method", "/status", "").without("REQUEST_METHOD"),
        page("script that does not exist", "/status", "json").param("SCRIPT_FILENAME", "{dir}/www/none.php"),
        page("script that may not run", "/status", "json").param("SCRIPT_FILENAME", "{dir}/www/x.txt"),
    ]);
    pair.finish();
}

/// Which of several words wins, and php-fpm's habit to take the beginning of a word for the word.
#[test]
fn words_of_the_query() {
    let mut pair = Pair::start(&with_pages(""));
    let queries = "html&xml&json&openmetrics xml&json json&xml openmetrics&json full&openmetrics&json j js jso jsonx \
                   h ht htm x xm o open openmetric f fu fulls f&j h&x o&x J JSON a=json json= json=0 json[]=1 \
                   json[a][b]=1 =json &json json%20 %6Ason +json js.on js%00on j%00 json;full 0 1&json full&full \
                   json&json[]=2 f[]=1&x[]=2 _ [ [json json[ x=1&x=2 html=%00";
    for query in queries.split_whitespace() {
        pair.case(&page(&format!("?{query}"), "/status", query));
    }
    pair.finish();
}

/// Texts of requests, shown by the status pool: its own requests are not on the page.
#[test]
fn texts_of_requests_are_escaped() {
    let mut pair = Pair::start(&with_pages("pm.status_listen = {dir}/status.sock"));
    let long = "l".repeat(600);
    let texts: [(&str, &str, &[u8], &[u8]); 14] = [
        ("plain", "/x.php", b"a=1", b"joe"),
        ("markup", "/a\"<b>'&amp;", b"x=\"<y>'&z=1", b"joe"),
        ("slashes", "/a/b\\c", b"a/b\\", b"jo/e"),
        ("control characters", "/\x01\t\x1f\x7f", b"\x08\x0c\n\r\t\x02", b"joe"),
        ("letters", "/\u{e4}\u{20ac}\u{1f418}", "\u{e9}\u{2028}\u{10ffff}".as_bytes(), b"joe"),
        ("what XML forbids", "/\u{fffe}\u{ffff}", "\u{85}\u{fdd0}\u{1ffff}".as_bytes(), b"joe"),
        ("no UTF-8", "/x", b"\xff\xfea", b"joe"),
        ("UTF-8 cut", "/x", b"a\xe2\x82b\xc3", b"joe"),
        ("UTF-8 too long", "/x", b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xafx\xf5x", b"joe"),
        ("surrogates", "/x", b"\xed\xa0\x80x\xf4\x90\x80\x80y", b"joe"),
        ("broken off by letters", "/x", b"\xe2ab\xe2\x82a\xf0\x9f\x90a\xf0a\xc3\xff.\xe2\xff\x82.", b"joe"),
        (
            "long",
            "/llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll",
            long.as_bytes(),
            long.as_bytes(),
        ),
        ("user with markup", "/x", b"", b"<j>&\"o\"/e\\"),
        ("nothing", "", b"", b""),
    ];
    for (name, uri, query, user) in texts {
        for form in ["", "json", "xml", "html"] {
            pair.same(&format!("{name} {form}"), |server| {
                let authorization = [b"Basic ".to_vec(), base64(&[user, b":x"].concat())].concat();
                let request = Request::get(server, "/x.php").param("SCRIPT_NAME", uri);
                let request = request.param("QUERY_STRING", query).param("HTTP_AUTHORIZATION", authorization);
                server.send(&request);
                let status =
                    Request::get(server, &format!("/x.php?full&{form}")).param("SCRIPT_NAME", "/status");
                idle_page(server, &status)
            });
        }
    }
    pair.ignore_log();
    pair.finish();
}

/// The status pool's page once the main pool's worker is idle in its eyes.
fn idle_page(server: &Server, request: &Request) -> String {
    let reply = wait::until(|| {
        let reply = Client::unix(&server.socket("status")).send(request);
        (!reply.body().contains("Finishing")).then_some(reply)
    });
    masked(server, &reply.expect("the worker becomes idle"))
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let letters = (0..4).map(|at| LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        text.extend(letters.enumerate().map(|(at, letter)| if at <= chunk.len() { letter } else { b'=' }));
    }
    text
}

#[test]
fn settings_of_php_show() {
    for (name, lines, word) in [
        ("another character set", "php_admin_value[default_charset] = ISO-8859-1", ""),
        ("no character set", "php_admin_value[default_charset] =", ""),
        ("another type", "php_admin_value[default_mimetype] = text/x-own", ""),
        ("X-Powered-By", "", "expose_php=1"),
        ("no PATH_INFO", "", "cgi.fix_pathinfo=0"),
        ("full status lines", "", "cgi.rfc2616_headers=1"),
        ("status line always", "", "cgi.nph=1"),
        ("no query variables", "php_value[variables_order] = PCS", ""),
        ("one query variable", "php_value[max_input_vars] = 1", ""),
        ("other separators", "php_value[arg_separator.input] = \";\"", ""),
        ("a script that is prepended", "php_value[auto_prepend_file] = {dir}/www/x.php", ""),
        ("buffered", "php_value[output_buffering] = 100", ""),
        ("flushed", "php_flag[implicit_flush] = on", ""),
        ("little memory", "php_admin_value[memory_limit] = 2M", ""),
    ] {
        let setup = with_pages(lines);
        let setup = if word.is_empty() { setup } else { setup.arg("-d").arg(word) };
        let mut pair = Pair::start(&setup);
        for query in ["", "json", "full&html&a=<\u{e4}>", "full&xml&a=<\u{e4}", "a&json", "a;json;full"] {
            pair.case(&page(&format!("{name} ?{query}"), "/status", query));
            pair.case(&page(&format!("{name} HEAD ?{query}"), "/status", query).method("HEAD"));
        }
        let bytes = |_: &Server, request: Request| request.param("QUERY_STRING", b"full&xml&a=\xe4<\x01");
        pair.case(&page(&format!("{name} bytes"), "/status", "").with(bytes));
        pair.case(&page(&format!("{name} ping"), "/ping", ""));
        pair.case(&page(&format!("{name} by PATH_INFO"), "", "").param("PATH_INFO", "/ping"));
        pair.finish();
    }
}

#[test]
fn paths_of_the_pages() {
    let mut pair = Pair::start(
        &Setup::new()
            .www("ping.path = /same\npm.status_path = /same\nping.response = first")
            .pool("short", "pm.status_path = \"/~\"")
            .script("x.php", "<?php echo 'script';"),
    );
    pair.case(&page("ping goes first", "/same", ""));
    pair.same("the shortest path", |server| {
        let request = Request::get(server, "/x.php").param("SCRIPT_NAME", "/~");
        masked(server, &Client::unix(&server.socket("short")).send(&request))
    });
    pair.finish();
}

#[test]
fn kept_connections_and_the_last_request() {
    let mut pair = Pair::start(&with_pages("pm.max_requests = 2"));
    let reason = "the next worker would answer the next request on the kept connection";
    pair.differs("two pages on a connection", reason, |server| {
        let mut client = server.connect();
        let status = Request::get(server, "/x.php?full").param("SCRIPT_NAME", "/status").keep();
        let ping = Request::get(server, "/x.php").param("SCRIPT_NAME", "/ping").keep();
        let replies = [client.send(&status), client.send(&ping)];
        format!(
            "{} {}",
            replies.map(|reply| masked(server, &reply)).join("\n"),
            client.send(&ping).end.is_none()
        )
    });
    pair.case(&page("the next worker", "/ping", ""));
    pair.ignore_log();
    pair.finish();
}

/// `fpm_get_status()` tells the same. Which of the workers answers is chance, so they are put in order.
#[test]
fn the_function() {
    let code = r#"<?php
        $status = fpm_get_status();
        $kinds = [];
        foreach (['start-time', 'start-since', 'accepted-conn', 'listen-queue-len', 'max-active-processes'] as $key) {
            $kinds[$key] = gettype($status[$key]);
            $status[$key] = '?';
        }
        foreach ($status['procs'] as &$one) {
            foreach (['pid', 'start-time', 'start-since', 'requests', 'request-duration', 'last-request-cpu', 'last-request-memory'] as $key) {
                $kinds[$key] = gettype($one[$key]);
                $one[$key] = '?';
            }
        }
        unset($one);
        sort($status['procs']);
        var_dump($status, $kinds);"#;
    let mut pair = Pair::start(&with_pages("pm.max_children = 3").script("s.php", code));
    pair.same("seen from a script", |server| {
        let request = Request::get(server, "/s.php?a=<b>").param("HTTP_AUTHORIZATION", "Basic am9lOng=");
        // php-fpm counts its workers for the first time after a second, and workers that have answered before are
        // shown with that request.
        let all = wait::until(|| {
            let text = server.send(&request).body();
            let answered = text.matches("\"a=<b>\"").count() == 3 && !text.contains("Finishing");
            (text.contains("[\"total-processes\"]=>\n  int(3)") && answered).then_some(text)
        });
        all.expect("all three workers answer")
    });
    pair.ignore_log();
    pair.finish();
}

fn on_status_socket(server: &Server, path: &str, query: &str) -> Reply {
    let request = Request::get(server, &format!("/x.php?{query}")).param("SCRIPT_NAME", path);
    Client::unix(&server.socket("status")).send(&request)
}

#[test]
fn status_listen() {
    let mut pair = Pair::start(&with_pages("pm.status_listen = {dir}/status.sock").script("x.txt", "text"));
    for (name, path, query) in [
        ("status", "/status", "json"),
        ("all forms of it", "/status", "full&html"),
        ("metrics", "/status", "openmetrics"),
        ("ping, too", "/ping", ""),
        ("a script runs", "/x.php", ""),
        ("any path", "/none", "x"),
    ] {
        pair.same(name, |server| masked(server, &on_status_socket(server, path, query)));
    }
    pair.same("a forbidden script", |server| {
        let request = Request::get(server, "/x.txt");
        Client::unix(&server.socket("status")).send(&request).to_text()
    });
    pair.same("the main pool's own page", |server| {
        let request = Request::get(server, "/x.php?json").param("SCRIPT_NAME", "/status");
        masked(server, &server.send(&request))
    });
    // How many workers it has is a matter of chance: the one before may still be busy.
    pair.same("seen by a script of the status pool", |server| {
        server.write(
            "www/name.php",
            "<?php $s = fpm_get_status(); echo $s['pool'], $s['process-manager'], count($s['procs']) > 0;",
        );
        Client::unix(&server.socket("status")).send(&Request::get(server, "/name.php")).body()
    });
    pair.same("title", |server| {
        on_status_socket(server, "/status", "");
        let workers = wait::until(|| {
            let workers = server.workers("www_status");
            (!workers.is_empty()).then_some(workers)
        });
        format!("{}", workers.is_some())
    });
    pair.same("socket", |server| {
        use std::os::unix::fs::MetadataExt;
        let [main, status] =
            ["www", "status"].map(|name| std::fs::metadata(server.socket(name)).expect("socket"));
        format!("{:o} {}", status.mode(), (status.uid(), status.gid()) == (main.uid(), main.gid()))
    });
    // When the status pool's worker is started is its own matter.
    pair.ignore_log();
    pair.finish();
}

#[test]
fn status_listen_without_a_path_is_the_root() {
    let mut pair = Pair::start(
        &Setup::new().www("pm.status_listen = {dir}/status.sock").script("x.php", "<?php echo 'script';"),
    );
    pair.same("status pool", |server| masked(server, &on_status_socket(server, "/", "")));
    pair.case(&page("main pool", "/", ""));
    pair.case(&page("a script", "/x.php", ""));
    pair.ignore_log();
    pair.finish();
}

#[test]
fn status_listen_over_tcp() {
    let mut pair = Pair::start(&with_pages(
        "pm.status_listen = 127.0.0.1:{port}\nlisten.allowed_clients = 127.0.0.1\nlisten.backlog = 7",
    ));
    pair.same("status", |server| {
        let request = Request::get(server, "/x.php?json").param("SCRIPT_NAME", "/status");
        let reply =
            Client::tcp(([127, 0, 0, 1], server.port(0)).into()).map(|mut client| client.send(&request));
        masked(server, &reply.expect("connection"))
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn status_listen_that_cannot_be() {
    for (name, lines) in [
        ("the pool's own address", "pm.status_listen = {dir}/www.sock"),
        ("another pool's address", "pm.status_listen = {dir}/other.sock"),
        ("no folder", "pm.status_listen = {dir}/none/status.sock"),
        ("no path", "pm.status_listen = {dir}/status.sock\npm.status_path = x"),
        ("no user", "pm.status_listen = {dir}/status.sock\nlisten.owner = nosuchuser"),
    ] {
        let setup = Setup::new().www(lines).pool("other", "");
        compare_runs(name, None, |side| until_exit(side, &setup));
    }
}

#[test]
fn the_status_pool_is_hidden() {
    let setup = with_pages("pm.status_listen = {dir}/status.sock").arg("-tt");
    compare_runs("-tt", None, |side| until_exit(side, &setup));
    let setup = with_pages("pm.status_listen = {dir}/status.sock");
    compare_runs("start and stop", None, |side| {
        let server = Server::start(side, &setup);
        server.stop();
        let left = server.socket("status").exists();
        mask(&server, &format!("{}\nleft behind: {left}", server.log()), &[])
    });
}

#[test]
fn a_reload_starts_the_numbers_anew() {
    let setup = with_pages("pm.status_listen = {dir}/status.sock").global("process_control_timeout = 5");
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR2", |server| {
        server.get("/x.php");
        on_status_socket(server, "/status", "");
        let config = server.read("php-fpm.conf").replace("/status\n", "/new\n");
        server.write("php-fpm.conf", config);
        server.signal(Signal::SIGUSR2);
        server.wait_log_times("ready to handle connections", 2);
        server.get("/x.php");
        let page = wait::until(|| {
            let reply = on_status_socket(server, "/new", "json");
            reply.body().contains("\"active processes\":0").then(|| masked(server, &reply))
        });
        let old = masked(server, &on_status_socket(server, "/status", "json"));
        format!("{}\n{old}", page.expect("the worker becomes idle"))
    });
    pair.ignore_log();
    pair.finish();
}

/// As health checks of containers do it.
#[test]
fn cgi_fcgi_asks() {
    let mut pair = Pair::start(&with_pages("pm.status_listen = {dir}/status.sock"));
    for (name, socket, path, query) in [
        ("ping", "www", "/ping", ""),
        ("status", "www", "/status", "json"),
        ("status pool", "status", "/status", "full"),
    ] {
        pair.same(name, |server| {
            let output = Command::new("cgi-fcgi")
                .args(["-bind", "-connect"])
                .arg(server.socket(socket))
                .env_clear()
                .env("SCRIPT_NAME", path)
                .env("SCRIPT_FILENAME", path)
                .env("QUERY_STRING", query)
                .env("REQUEST_METHOD", "GET")
                .output()
                .expect("cgi-fcgi of the package libfcgi-bin");
            let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            let masks = TIMES.map(|pattern| regex::Regex::new(pattern).expect("pattern of a mask"));
            mask(server, &format!("{:?} {out} {err}", output.status.code()), &masks)
        });
    }
    pair.ignore_log();
    pair.finish();
}

/// A name, its type as announced before, and a number: what Prometheus makes of the page.
fn metrics(page: &str) -> Vec<(String, String, f64)> {
    let name = regex::Regex::new("^[a-zA-Z_:][a-zA-Z0-9_:]*$").expect("pattern");
    let (mut kinds, mut helps, mut found) =
        (Vec::<(String, String)>::new(), Vec::<String>::new(), Vec::new());
    let body = page.strip_suffix("# EOF\n").expect("ends with # EOF");
    assert!(!body.contains("# EOF"));
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", metric, help] => {
                assert!(name.is_match(metric) && !help.is_empty() && !helps.contains(&metric.to_owned()));
                helps.push(metric.into());
            }
            ["#", "TYPE", metric, kind] => {
                assert!(
                    ["gauge", "counter"].contains(&kind) && !kinds.iter().any(|(known, _)| known == metric)
                );
                kinds.push((metric.into(), kind.into()));
            }
            [metric, value] => {
                let (_, kind) = kinds.iter().find(|(known, _)| known == metric).expect("typed before");
                assert!(helps.contains(&metric.to_owned()), "{metric}");
                found.push((metric.into(), kind.clone(), value.parse().expect("a number")));
            }
            _ => panic!("no line of a metrics page: {line:?}"),
        }
    }
    found
}

#[test]
fn prometheus_reads_the_metrics() {
    let mut pair = Pair::start(&with_pages("pm.max_children = 2"));
    pair.same("names and types", |server| {
        let request = Request::get(server, "/x.php?openmetrics").param("SCRIPT_NAME", "/status");
        let found = metrics(&server.send(&request).body());
        let value = |wanted: &str| found.iter().find(|(name, ..)| name == wanted).expect("metric").2;
        assert_eq!(
            value("phpfpm_total_processes"),
            value("phpfpm_idle_processes") + value("phpfpm_active_processes")
        );
        assert!(value("phpfpm_up") == 1.0 && value("phpfpm_accepted_connections") == 1.0);
        format!("{:?}", found.iter().map(|(name, kind, _)| (name, kind)).collect::<Vec<_>>())
    });
    pair.finish();
}
