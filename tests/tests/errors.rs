//! Errors of scripts: what the client, the FastCGI STDERR stream, the ini-file's error_log and the master's log get.

use cornac_tests::{Case, Pair, Setup};

/// Scripts that fail, each in its own way.
fn failures() -> Vec<Case> {
    vec![
        Case::php("notice", "<?php trigger_error('a notice'); echo 'after';"),
        Case::php(
            "all levels",
            "<?php foreach ([E_USER_NOTICE, E_USER_WARNING, E_USER_DEPRECATED] as $l) trigger_error(\"level $l\", $l); echo 'after'; trigger_error('fatal', E_USER_ERROR); echo 'never';",
        ),
        Case::php("warning", "<?php echo $undefined, 1 . [], intdiv(7, 2);"),
        Case::php("parse error", "<?php echo 1\necho 2;"),
        Case::php(
            "parse error in include",
            "<?php file_put_contents($f = dirname(__DIR__) . '/tmp/broken.php', '<?php {'); echo 'before'; include $f;",
        ),
        Case::php(
            "uncaught exception",
            "<?php echo 'before'; function f($x) { throw new RuntimeException('thrown', 5); } f([1]);",
        ),
        Case::php("uncaught exception without output", "<?php throw new Exception('thrown');"),
        Case::php(
            "chained exceptions",
            "<?php try { throw new Exception('first'); } catch (Exception $e) { throw new LogicException('second', 1, $e); }",
        ),
        Case::php("uncaught type error", "<?php strlen();"),
        Case::php("undefined function", "<?php nothing_of_the_kind();"),
        Case::php(
            "exception handler",
            "<?php set_exception_handler(function ($e) { echo 'handled ', $e->getMessage(); }); throw new Exception('x');",
        ),
        Case::php(
            "error handler",
            "<?php set_error_handler(function ($no, $text) { echo \"handled $no $text\"; return true; }); echo $undefined;",
        ),
        Case::php(
            "error handler that throws",
            "<?php set_error_handler(fn ($no, $text) => throw new ErrorException($text)); echo $undefined;",
        ),
        Case::php(
            "out of memory",
            "<?php ini_set('memory_limit', '4M'); echo 'before'; $x = str_repeat('x', 1 << 27);",
        ),
        Case::php(
            "out of memory bit by bit",
            "<?php ini_set('memory_limit', '4M'); for (;;) $x[] = new stdClass;",
        )
        .mask(r"tried to allocate \d+ bytes"),
        Case::php(
            "after out of memory",
            "<?php var_dump(ini_get('memory_limit'), memory_get_peak_usage() < 2e6);",
        ),
        Case::php("compile-time fatal", "<?php class A {} class A {}"),
        Case::php(
            "fatal with headers",
            "<?php header('X-A: 1'); http_response_code(202); nothing_of_the_kind();",
        ),
        Case::php("fatal after flush", "<?php echo 'before'; ob_flush(); flush(); nothing_of_the_kind();"),
        Case::php(
            "fatal inside ob callback",
            "<?php ob_start(function ($x) { nothing_of_the_kind(); }); echo 'x';",
        ),
        Case::php("require missing", "<?php echo 'before'; require 'missing.php';"),
        Case::php(
            "error_get_last",
            "<?php @trigger_error('silent', E_USER_WARNING); var_dump(error_get_last()); error_clear_last(); var_dump(error_get_last());",
        ),
        Case::php(
            "error_log()",
            "<?php var_dump(error_log('to the log')); error_log(\"two\\nlines\"); error_log('to the sapi', 4);",
        ),
        Case::php("error_log() of 5000 bytes", "<?php error_log(str_repeat('long ', 1000));"),
        Case::php(
            "bytes in an error",
            "<?php error_log(\"a\\0b \\x01\\xff ä\"); trigger_error(\"<b>\\x02\\xfe</b>\");",
        ),
        Case::php("many errors", "<?php for ($i = 0; $i < 200; $i++) error_log(\"message $i\");"),
        Case::php("html_errors", "<?php ini_set('html_errors', 1); trigger_error('<b>bold</b>');"),
        Case::php("assert", "<?php var_dump(ini_get('zend.assertions')); assert(false); echo 'after';"),
        Case::php(
            "error_reporting",
            "<?php var_dump(error_reporting()); error_reporting(0); trigger_error('hidden'); echo $undefined;",
        ),
        Case::php("deprecated", "<?php strlen(null); function f($a = 1, $b) {} "),
        Case::php(
            "infinite recursion of a function",
            "<?php ini_set('memory_limit', '16M'); function f() { f(); } f();",
        )
        .mask(r"tried to allocate \d+ bytes"),
        Case::php("debug_print_backtrace", "<?php function f() { debug_print_backtrace(); } f();"),
        Case::php(
            "http code of a failed script",
            "<?php register_shutdown_function(function () { var_dump(http_response_code()); }); throw new Exception;",
        ),
    ]
}

#[test]
fn not_displayed_and_logged_to_the_web_server() {
    let mut pair =
        Pair::start(&Setup::new().www("php_flag[display_errors] = off\nphp_flag[log_errors] = on"));
    pair.cases(failures());
    pair.finish();
}

#[test]
fn displayed_and_not_logged() {
    let mut pair = Pair::start(&Setup::new().www(
        "php_flag[display_errors] = on\nphp_flag[log_errors] = off\nphp_value[error_reporting] = 32767",
    ));
    pair.cases(failures());
    pair.finish();
}

#[test]
fn displayed_and_logged_with_output_of_workers_caught() {
    let mut pair = Pair::start(
        &Setup::new()
            .www("php_flag[display_errors] = on\nphp_flag[log_errors] = on\ncatch_workers_output = yes"),
    );
    pair.cases(failures());
    pair.finish();
}

#[test]
fn neither_displayed_nor_logged() {
    let mut pair =
        Pair::start(&Setup::new().www("php_flag[display_errors] = off\nphp_flag[log_errors] = off"));
    pair.cases(failures());
    pair.finish();
}

#[test]
fn error_log_of_the_pool() {
    let mut pair = Pair::start(&Setup::new().www("php_admin_value[error_log] = {dir}/tmp/php.log\nphp_admin_flag[log_errors] = on\nphp_admin_value[error_append_string] = <end>\nphp_admin_value[error_prepend_string] = <begin>\nphp_flag[display_errors] = on"));
    pair.cases(failures());
    pair.same("the file", |server| server.read("tmp/php.log"));
    pair.finish();
}

#[test]
fn error_log_that_cannot_be_written() {
    let mut pair = Pair::start(&Setup::new().www("php_admin_value[error_log] = {dir}/none/php.log\nphp_admin_flag[log_errors] = on\ncatch_workers_output = yes"));
    pair.cases([Case::php("notice", "<?php trigger_error('a notice'); echo 'after';")]);
    pair.finish();
}

#[test]
fn fastcgi_logging_off() {
    let mut pair = Pair::start(&Setup::new().www(
        "php_admin_flag[fastcgi.logging] = off\nphp_admin_flag[log_errors] = on\ncatch_workers_output = yes",
    ));
    pair.cases([
        Case::php("notice", "<?php trigger_error('a notice'); echo 'after';"),
        Case::php("fatal", "<?php nothing_of_the_kind();"),
        Case::get("missing", "/missing.php"),
    ]);
    pair.finish();
}

#[test]
fn fastcgi_error_header() {
    let mut pair = Pair::start(&Setup::new().www(
        "php_admin_value[fastcgi.error_header] = \"HTTP/1.1 550 Broken\"\nphp_flag[display_errors] = off",
    ));
    pair.cases([
        Case::php("fatal", "<?php nothing_of_the_kind();"),
        Case::php("exit 255", "<?php exit(255);"),
        Case::php("exit 1", "<?php exit(1);"),
        Case::php("fatal after flush", "<?php echo 1; ob_flush(); flush(); nothing_of_the_kind();"),
        Case::php("plain", "<?php echo 1;"),
    ]);
    pair.finish();
}

#[test]
fn log_limit() {
    let lines = "<?php foreach ([400, 480, 490, 500, 510, 520, 1100, 3000] as $n) { error_log(str_repeat('x', $n)); file_put_contents('php://stderr', str_repeat('y', $n) . \"\\n\"); }";
    let mut pair = Pair::start(
        &Setup::new()
            .global("log_limit = 512")
            .www("catch_workers_output = yes\nphp_admin_flag[log_errors] = on"),
    );
    pair.cases([Case::php("long messages", lines)]);
    // Pids of different length change where a line is wrapped.
    pair.mask_log("x+|y+");
    pair.finish();
}

/// Scripts that write to the worker's own stdout and stderr.
fn writers() -> Vec<Case> {
    vec![
        Case::php("a line to stderr", "<?php file_put_contents('php://stderr', \"a line\\n\"); echo 1;"),
        Case::php("a line to stdout", "<?php file_put_contents('php://stdout', \"a line\\n\"); echo 1;"),
        Case::php("no newline", "<?php file_put_contents('php://stderr', 'unfinished');"),
        Case::php("no newline, stdout", "<?php file_put_contents('php://stdout', 'unfinished');"),
        Case::php(
            "several lines",
            "<?php file_put_contents('php://stderr', \"one\\ntwo\\n\\nthree\\r\\nfour\");",
        ),
        Case::php(
            "in pieces",
            "<?php $h = fopen('php://stderr', 'w'); foreach (['a', 'b', \"c\\n\", 'd'] as $s) fwrite($h, $s);",
        ),
        Case::php(
            "quotes and bytes",
            "<?php file_put_contents('php://stderr', \"say \\\"hi\\\" \\x01\\xff ä \\\\ \\t.\\n\");",
        ),
        Case::php(
            "5000 bytes",
            "<?php file_put_contents('php://stderr', str_repeat('0123456789', 500) . \"\\n\");",
        ),
        Case::php(
            "500 lines",
            "<?php for ($i = 0; $i < 500; $i++) file_put_contents('php://stderr', \"line $i\\n\");",
        ),
        Case::php(
            "error_log and stderr",
            "<?php error_log('message'); file_put_contents('php://stderr', \"a line\\n\"); error_log('message');",
        ),
        Case::php("child process", "<?php system('echo child out; echo child err >&2');"),
    ]
}

fn output_of_workers(lines: &str, global: &str) {
    let mut pair =
        Pair::start(&Setup::new().global(global).www(lines).www("php_admin_flag[log_errors] = on"));
    for (number, case) in writers().into_iter().enumerate() {
        pair.case(&case);
        // What a worker writes reaches the log after its answer, and what two cases write must not meet there.
        let end = format!("end of case {number}");
        pair.case(&Case::php(&end, &format!("<?php file_put_contents('php://stderr', \"{end}\n\");")));
        if lines.contains("= yes") {
            pair.servers().iter().for_each(|server| server.wait_log(&end));
        }
    }
    pair.mask_log(r"0123456789[0-9]*");
    pair.finish();
}

#[test]
fn output_caught_and_decorated() {
    output_of_workers("catch_workers_output = yes", "");
}

#[test]
fn output_caught_and_undecorated() {
    output_of_workers("catch_workers_output = yes\ndecorate_workers_output = no", "");
}

#[test]
fn output_caught_without_buffering() {
    output_of_workers("catch_workers_output = yes", "log_buffering = no");
}

#[test]
fn output_not_caught() {
    output_of_workers("catch_workers_output = no", "");
}

#[test]
fn log_level_error() {
    let mut pair =
        Pair::start(&Setup::new().global("log_level = error").quiet().www("catch_workers_output = yes"));
    pair.cases([
        Case::php("notice", "<?php trigger_error('a notice');"),
        Case::get("missing", "/missing.php"),
    ]);
    pair.log_differs(
        "php-fpm writes the end of a captured line whose begin it left out; cornac leaves all of it out",
    );
    pair.finish();
}
