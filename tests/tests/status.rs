//! Ping and status pages in all formats, and the access log with every field of its format.

use cornac_tests::{Case, Client, Pair, Request, Setup};

/// Numbers that depend on time, and the length of a unix socket's queue, which php-fpm does not know; the rest of a status page must be equal.
const TIMES: &str = r#"(?x) (start[-_\ ](time|since)|request[-_\ ]duration|last[-_\ ]request[-_\ ](cpu|memory)|accepted[-_\ ]conn|listen[-_\ ]queue[-_\ ]len(gth)?|pid|requests|memory[-_\ ]peak)(:\s*|"?:|>|</th><td>)"?[\d.:/A-Za-z+\ ]+ "#;

fn page(name: &str, path: &str, query: &str) -> Case {
    Case::get(name, "/x.php")
        .query(query)
        .param("SCRIPT_NAME", path)
        .param("REQUEST_URI", path)
        .mask(TIMES)
        .mask(r"phpfpm_(start_since|listen_queue_length) \d+")
        .mask(r"<tr><td>\d+</td><td>\w+</td>(<td>[^<]*</td>){4}")
}

#[test]
fn ping() {
    let setup = Setup::new()
        .www("ping.path = /ping\nping.response = \"pong <b>\"\npm.status_path = /status")
        .script("ping", "a file");
    let mut pair = Pair::start(&setup.script("x.php", "<?php echo 'script';"));
    pair.cases([
        page("get", "/ping", ""),
        page("with query", "/ping", "json&full"),
        page("post", "/ping", "").post("text/plain", "content"),
        page("head", "/ping", "").method("HEAD"),
        page("script that does not exist", "/ping", "").param("SCRIPT_FILENAME", "{dir}/www/none"),
        page("no script", "/ping", "").without("SCRIPT_FILENAME"),
        page("with slash", "/ping/", ""),
        page("longer", "/pinging", ""),
        page("path info", "/x.php", "").param("PATH_INFO", "/ping").param("SCRIPT_NAME", ""),
    ]);
    pair.finish();
}

#[test]
fn status() {
    let setup = Setup::new()
        .www("pm.status_path = /status\nping.path = /ping")
        .script("x.php", "<?php echo 'script';");
    let mut pair = Pair::start(&setup);
    pair.cases([Case::get("a request before", "/x.php")
        .query("a=<b>&c=\"d\"")
        .param("HTTP_AUTHORIZATION", "Basic am9lOng=")]);
    for query in [
        "",
        "json",
        "xml",
        "html",
        "openmetrics",
        "full",
        "full&json",
        "full&xml",
        "full&html",
        "full&openmetrics",
        "json&xml",
        "jsonx",
        "a=json",
        "JSON",
    ] {
        pair.case(&page(&format!("status?{query}"), "/status", query));
    }
    pair.cases([
        page("head", "/status", "").method("HEAD"),
        page("post", "/status", "json").post("text/plain", "content"),
        page("longer", "/status/x", ""),
    ]);
    pair.finish();
}

#[test]
fn status_listen() {
    let setup = Setup::new().www("pm.status_path = /status\npm.status_listen = {dir}/status.sock");
    let mut pair = Pair::start(&setup.script("x.php", "<?php echo 'script';"));
    for (name, path) in [("status", "/status"), ("script", "/x.php"), ("other", "/none")] {
        pair.same(name, |server| {
            let request = Request::get(server, "/x.php?json").param("SCRIPT_NAME", path);
            let reply = Client::unix(&server.socket("status")).send(&request).to_text();
            reply
                .split(',')
                .filter(|field| !["start ", "accepted", "queue len"].iter().any(|own| field.contains(own)))
                .collect::<Vec<_>>()
                .join(",")
        });
    }
    // When the status pool's worker is started is its own matter.
    pair.ignore_log();
    pair.finish();
}

fn logged(format: &str, more: &str) {
    let lines = format!(
        "access.log = {{dir}}/access.log\naccess.format = {format}\n{more}\nping.path = /ping\ncatch_workers_output = yes"
    );
    let setup = Setup::new().www(&lines).script("x.php", "<?php header('X-Own: own value'); http_response_code((int)($_GET['code'] ?? 200)); register_shutdown_function(fn () => header('X-Late: 1')); echo str_repeat('x', 1000);");
    let mut pair = Pair::start(&setup);
    pair.cases([
        Case::get("plain", "/x.php"),
        Case::get("query", "/x.php?code=404&a=\"b\"&c=<d>"),
        Case::get("user", "/x.php").param("HTTP_AUTHORIZATION", "Basic am9lOng="),
        Case::get("remote user", "/x.php").param("REMOTE_USER", "other"),
        Case::get("post", "/x.php").post("text/plain", "content"),
        Case::get("missing", "/none.php"),
        Case::get("forbidden", "/x.txt"),
        Case::php("fatal", "<?php nothing();"),
        Case::php("finished early", "<?php fastcgi_finish_request(); http_response_code(500);"),
        Case::get("long", &format!("/x.php?{}", "y".repeat(3000))),
        page("ping", "/ping", ""),
        Case::get("bytes", "/x.php").with(|_, request| request.param("SCRIPT_NAME", b"/\xff\x01\t\"\\")),
    ]);
    // A line is written before its answer is complete: no need to wait.
    pair.same("access.log", |server| server.read("access.log"));
    pair.finish();
}

#[test]
fn access_log_default_format() {
    logged("\"%R - %u [masked] \\\"%m %r\\\" %s\"", "");
}

#[test]
fn access_log_fields() {
    logged(
        "\"%% %f %l %m %n %q %Q %r %R %s %u %{REQUEST_METHOD}e %{HTTP_HOST}e %{NONE}e %{X-Own}o %{X-Late}o %{Content-type}o\"",
        "",
    );
}

#[test]
fn access_log_suppressed() {
    logged("\"%m %r %s\"", "access.suppress_path[] = /x.php\naccess.suppress_path[] = /none.php");
}

#[test]
fn access_log_times_and_numbers() {
    let format = "\"%t|%T|%{%Y}t|%d|%{micro}d|%{milli}d|%M|%{kilo}M|%{mega}M|%C|%{system}C|%p|%P\"";
    let mut pair = Pair::start(
        &Setup::new()
            .www(&format!("access.log = {{dir}}/access.log\naccess.format = {format}"))
            .script("x.php", "<?php echo 1;"),
    );
    pair.same("shape", |server| {
        server.get("/x.php");
        let pids = [
            server.workers("www").first().map_or(0, |worker| worker.pid).to_string(),
            server.master().to_string(),
        ];
        let line = server.read("access.log");
        let fields: Vec<&str> = line.trim().split('|').collect();
        let shape = |field: &&str| {
            field.replace(|letter: char| letter.is_ascii_digit(), "0").replace("00", "0").replace("00", "0")
        };
        let kinds: Vec<String> = fields.iter().take(6).map(shape).collect();
        format!(
            "{} {kinds:?} {:?}",
            fields.len(),
            fields
                .iter()
                .rev()
                .take(2)
                .map(|field| pids.iter().position(|pid| pid == field))
                .collect::<Vec<_>>()
        )
    });
    pair.finish();
}
