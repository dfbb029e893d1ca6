//! How scripts end: exit, shutdown functions, destructors, time limits, vanished clients, and work that goes on after
//! fastcgi_finish_request().

use cornac_tests::{Case, Pair, Request, Server, Setup, wait};

/// Waits until a script has written a file below the server's folder, and returns it.
fn written(server: &Server, name: &str) -> String {
    wait::until(|| Some(server.read(name)).filter(|text| text.ends_with('.')))
        .unwrap_or_else(|| format!("{name} was not written, or not to its end: {:?}", server.read(name)))
}

/// A script of this server, in which `@FILE` is a file that can be written.
fn script(server: &Server, name: &str, code: &str) -> String {
    let file = format!("dirname(__DIR__) . '/tmp/{name}'");
    server.write(&format!("www/{name}.php"), code.replace("@FILE", &file));
    format!("/{name}.php")
}

#[test]
fn exit_and_shutdown() {
    let mut pair = Pair::start(&Setup::new().www("php_admin_value[max_execution_time] = 30"));
    pair.cases([
        Case::php("exit", "<?php echo 1; exit; echo 2;"),
        Case::php("exit with text", "<?php echo 1; exit('bye'); echo 2;"),
        Case::php("exit with number", "<?php echo 1; exit(3);"),
        Case::php("exit 255", "<?php echo 1; exit(255);"),
        Case::php("die in function", "<?php function f() { die('dead'); } f();"),
        Case::php("exit in buffer", "<?php ob_start(); echo 'in'; exit;"),
        Case::php("exit in ob callback", "<?php ob_start(function ($x) { exit('never'); }); echo 'in';"),
        Case::php("exit in finally", "<?php try { throw new Exception; } finally { exit('finally'); }"),
        Case::php("exit in generator", "<?php function g() { try { yield 1; } finally { echo 'f'; } } foreach (g() as $x) exit('x');"),
        Case::php("return", "<?php echo 1; return 5; echo 2;"),
        Case::php("__halt_compiler", "<?php echo file_get_contents(__FILE__, false, null, __COMPILER_HALT_OFFSET__); __halt_compiler();the rest"),
        Case::php("shutdown functions", "<?php register_shutdown_function(function ($a) { echo $a; register_shutdown_function(fn () => print('nested')); }, 'down'); echo 'up';"),
        Case::php("shutdown after exit", "<?php register_shutdown_function(fn () => print('down')); exit('bye');"),
        Case::php("shutdown after fatal", "<?php register_shutdown_function(fn () => print(error_get_last()['type'])); nothing();"),
        Case::php("exit in shutdown", "<?php register_shutdown_function(fn () => exit('one')); register_shutdown_function(fn () => print('two'));"),
        Case::php("header in shutdown", "<?php register_shutdown_function(fn () => header('X-Down: 1')); "),
        Case::php("status in shutdown", "<?php register_shutdown_function(fn () => http_response_code(503)); "),
        Case::php("cwd in shutdown", "<?php register_shutdown_function(fn () => print(getcwd())); chdir('/');"),
        Case::php("destructors", "<?php class D { function __construct(public $n) {} function __destruct() { echo 'gone ', $this->n, ' '; } } $a = new D(1); $b = new D(2); $a = null; echo 'end ';"),
        Case::php("destructor after exit", "<?php class D { function __destruct() { echo 'gone'; header('X-D: 1'); } } $a = new D; exit('bye ');"),
        Case::php("destructor that throws", "<?php class D { function __destruct() { throw new Exception('in destructor'); } } $a = new D; echo 1;"),
        Case::php("destructor of a cycle", "<?php class D { public $me; function __destruct() { echo 'gone'; } } $a = new D; $a->me = $a; unset($a); echo 'end ';"),
        Case::php("order at the end", "<?php class D { function __destruct() { echo 'destructor '; } } $d = new D; ob_start(fn ($x) => \"[$x]\"); register_shutdown_function(fn () => print('shutdown ')); echo 'script ';"),
        Case::php("gc and weak references", "<?php $o = new stdClass; $w = WeakReference::create($o); unset($o); var_dump($w->get(), gc_collect_cycles());"),
        Case::php("fiber", "<?php $f = new Fiber(function () { $x = Fiber::suspend('out'); echo $x; }); echo $f->start(); $f->resume('in');"),
        Case::php("fiber left suspended", "<?php $f = new Fiber(function () { try { Fiber::suspend(); } finally { echo 'finally'; } }); $f->start(); echo 'end ';"),
        Case::php("tick", "<?php declare(ticks=1); register_tick_function(fn () => print('t')); $a = 1; $b = 2;"),
    ]);
    pair.finish();
}

#[test]
fn time_limits() {
    let mut pair =
        Pair::start(&Setup::new().www("php_value[max_execution_time] = 1\nphp_flag[display_errors] = on"));
    pair.cases([
        Case::php("max_execution_time", "<?php echo 'before'; register_shutdown_function(fn () => print('down ' . connection_status())); while (true);"),
        Case::php("sleeping does not count", "<?php usleep(1200000); echo 'slept';"),
        Case::php("set_time_limit", "<?php var_dump(set_time_limit(1)); for (;;) $x = md5('x');").mask("in /.*"),
        Case::php("next request has the old limit", "<?php var_dump(ini_get('max_execution_time'), connection_status());"),
        Case::php("limit lifted", "<?php set_time_limit(0); $end = microtime(true) + 1.2; while (microtime(true) < $end); echo 'done';"),
        Case::php("limit in a shutdown function", "<?php set_time_limit(1); register_shutdown_function(function () { echo 'down'; while (true); });"),
    ]);
    pair.finish();
}

#[test]
fn finish_request() {
    let mut pair = Pair::start(&Setup::new());
    pair.cases([
        Case::php("returns", "<?php echo 'sent'; var_dump(fastcgi_finish_request()); echo 'not sent';"),
        Case::php("headers", "<?php header('X-A: 1'); http_response_code(202); fastcgi_finish_request(); header('X-B: 2');"),
        Case::php("with buffers", "<?php ob_start(); echo 'one'; ob_start(fn ($x) => strtoupper($x)); echo 'two'; fastcgi_finish_request(); echo 'three';"),
        Case::php("then exit", "<?php echo 'sent'; fastcgi_finish_request(); exit('text');"),
        Case::php("then error", "<?php echo 'sent'; fastcgi_finish_request(); trigger_error('late');"),
        Case::php("then fatal", "<?php echo 'sent'; fastcgi_finish_request(); nothing();"),
        Case::php("without output", "<?php fastcgi_finish_request();"),
        Case::php("in shutdown function", "<?php register_shutdown_function(function () { echo 'x'; fastcgi_finish_request(); echo 'y'; }); echo 'a';"),
        Case::php("with unread body", "<?php echo 'sent'; fastcgi_finish_request(); file_put_contents(dirname(__DIR__) . '/tmp/late', file_get_contents('php://input'));").post("text/plain", "the body"),
        Case::php("body read late", "<?php echo file_get_contents(dirname(__DIR__) . '/tmp/late');"),
    ]);
    for (name, flush) in [("works on after the answer", ""), ("ends at a flush after the answer", "flush();")]
    {
        pair.same(name, |server| {
            let code = format!(
                "<?php register_shutdown_function(fn () => file_put_contents(@FILE, ' down.', FILE_APPEND)); echo 'sent'; $a = fastcgi_finish_request(); $b = fastcgi_finish_request(); echo 'lost'; {flush} usleep(50000); file_put_contents(@FILE, json_encode([$a, $b, connection_status(), connection_aborted(), headers_sent(), ob_get_level(), http_response_code()]));"
            );
            let file = name.replace(' ', "-");
            let reply = server.get(&script(server, &file, &code)).to_text();
            format!("{reply}\n{}", written(server, &format!("tmp/{file}")))
        });
    }
    pair.same("session is written", |server| {
        let code = "<?php session_save_path(dirname(__DIR__) . '/tmp'); session_id('finished'); session_start(); $_SESSION['n'] = 5; fastcgi_finish_request(); register_shutdown_function(fn () => file_put_contents(@FILE, 'end.'));";
        let reply = server.get(&script(server, "session", code)).to_text();
        format!("{reply}\n{}\n{}", written(server, "tmp/session"), server.read("tmp/sess_finished"))
    });
    pair.same("kept connection waits for the script", |server| {
        let mut client = server.connect();
        let first = script(
            server,
            "kept",
            "<?php echo 'first'; fastcgi_finish_request(); usleep(100000); file_put_contents(@FILE, 'end.');",
        );
        let second = script(server, "kept2", "<?php echo file_get_contents(dirname(__DIR__) . '/tmp/kept');");
        let one = client.send(&Request::get(server, &first).keep()).to_text();
        let two = client.send(&Request::get(server, &second)).to_text();
        format!("{one}\n{two}\nclosed: {}", client.at_end())
    });
    pair.finish();
}

#[test]
fn vanished_client() {
    let mut pair = Pair::start(&Setup::new());
    for (name, code) in [
        (
            "ends at the next output",
            "register_shutdown_function(fn () => file_put_contents(@FILE, json_encode([connection_status(), connection_aborted()]) . ' down.', FILE_APPEND)); for ($i = 0; $i < 2000; $i++) { echo str_repeat('x', 10000); flush(); } file_put_contents(@FILE, 'reached the end');",
        ),
        (
            "goes on with ignore_user_abort",
            "ignore_user_abort(true); for ($i = 0; $i < 2000; $i++) { echo str_repeat('x', 10000); flush(); } file_put_contents(@FILE, json_encode([connection_status(), connection_aborted(), ignore_user_abort()]) . '.');",
        ),
        (
            "goes on without output",
            "usleep(200000); file_put_contents(@FILE, json_encode([connection_status(), connection_aborted()]) . '.');",
        ),
        (
            "destructor runs",
            "class D { function __destruct() { file_put_contents(@FILE, 'gone.'); } } $d = new D; for ($i = 0; $i < 2000; $i++) { echo str_repeat('x', 10000); flush(); }",
        ),
    ] {
        pair.same(name, |server| {
            let target = script(server, &name.replace(' ', "-"), &format!("<?php {code}"));
            let mut client = server.connect();
            client.write(&Request::get(server, &target).encode()).expect("sent");
            drop(client);
            written(server, &format!("tmp/{}", name.replace(' ', "-")))
        });
    }
    pair.same("next request is undisturbed", |server| {
        let target = script(server, "next", "<?php var_dump(connection_status(), ignore_user_abort());");
        server.get(&target).to_text()
    });
    pair.finish();
}

#[test]
fn kept_connections() {
    let mut pair = Pair::start(
        &Setup::new()
            .script("who.php", "<?php echo 'hello ', $_GET['n'] ?? '';")
            .script("fatal.php", "<?php nothing();")
            .script("body.php", "<?php echo strlen(file_get_contents('php://input'));"),
    );
    pair.same("many requests, one connection", |server| {
        let mut client = server.connect();
        let mut ask = |request: Request| client.send(&request.keep()).to_text();
        let mut text = String::new();
        for number in 0..10 {
            text += &ask(Request::get(server, &format!("/who.php?n={number}")));
            text += &ask(Request::get(server, "/fatal.php"));
            text += &ask(Request::get(server, "/missing.php"));
            text += &ask(Request::post(server, "/body.php", "text/plain", &[b'x'; 100_000]));
            text += &ask(Request::post(server, "/who.php", "text/plain", &[b'x'; 100_000]));
        }
        text
    });
    pair.same("pipelined", |server| {
        let mut client = server.connect();
        for number in 0..5 {
            let request = Request::get(server, &format!("/who.php?n={number}"));
            client.write(&(if number < 4 { request.keep() } else { request }).encode()).expect("sent");
        }
        let replies: Vec<String> = (0..5).map(|_| client.read_reply().to_text()).collect();
        format!("{}\nclosed: {}", replies.join("\n"), client.at_end())
    });
    pair.same("closed without keep", |server| {
        let mut client = server.connect();
        client.send(&Request::get(server, "/who.php"));
        client.at_end().to_string()
    });
    pair.finish();
}
