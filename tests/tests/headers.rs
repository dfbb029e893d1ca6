//! Status line, headers and body as scripts make them: header(), cookies, HEAD, output buffering and flush.

use cornac_tests::{Case, Pair, Setup};

#[test]
fn status_and_headers() {
    let mut pair = Pair::start(&Setup::new());
    pair.cases([
        Case::php("plain", "hello"),
        Case::php("empty", ""),
        Case::php("own type", "<?php header('Content-Type: application/json'); echo '{}';"),
        Case::php("text type gets a charset", "<?php header('Content-Type: text/csv'); echo 1;"),
        Case::php("type in odd case", "<?php header('CONTENT-type:text/plain'); echo 1;"),
        Case::php("no type", "<?php header('Content-Type:'); echo 1;"),
        Case::php("type removed", "<?php header_remove('Content-Type'); echo 1;"),
        Case::php("default_mimetype", "<?php ini_set('default_mimetype', 'text/x-own'); ini_set('default_charset', 'iso-8859-1'); echo 1;"),
        Case::php("no default_mimetype", "<?php ini_set('default_mimetype', ''); echo 1;"),
        Case::php("http_response_code", "<?php var_dump(http_response_code()); var_dump(http_response_code(201)); var_dump(http_response_code());"),
        Case::php("code without reason", "<?php http_response_code(299);"),
        Case::php("code 600", "<?php http_response_code(600);"),
        Case::php("status line", "<?php header('HTTP/1.1 202 Really Fine'); echo 1;"),
        Case::php("status line without reason", "<?php header('HTTP/1.0 404'); echo 1;"),
        Case::php("status line HTTP/2", "<?php header('HTTP/2 503 Busy'); echo 1;"),
        Case::php("status line of 3000 bytes", "<?php header('HTTP/1.1 404 ' . str_repeat('x', 3000)); echo 1;"),
        Case::php("Status header", "<?php header('Status: 404 Gone Fishing'); echo 1;"),
        Case::php("Status header and code", "<?php http_response_code(500); header('Status: 404 Not Here'); echo 1;"),
        Case::php("two Status headers", "<?php header('Status: 404 A'); header('Status: 403 B', false); echo 1;"),
        Case::php("code as third argument", "<?php header('X-A: b', true, 418); echo 1;"),
        Case::php("Location", "<?php header('Location: /elsewhere');"),
        Case::php("Location with 301", "<?php header('Location: /elsewhere', true, 301); echo 'moved';"),
        Case::php("Location after 201", "<?php http_response_code(201); header('Location: /new');"),
        Case::php("Location after POST", "<?php header('Location: /new');").post("text/plain", "x"),
        Case::php("WWW-Authenticate", "<?php header('WWW-Authenticate: Basic realm=\"x\"');"),
        Case::php("header list", "<?php header('X-A: 1'); header('X-A: 2', false); header('X-B: 3'); header('x-b: 4'); header_remove('none'); var_dump(headers_list());"),
        Case::php("duplicates", "<?php header('X-A: 1'); header('X-A: 2', false); header('X-A: 3', false);"),
        Case::php("header_remove", "<?php header('X-A: 1'); header('X-B: 2'); header_remove('x-a'); echo 1;"),
        Case::php("header_remove all", "<?php header('X-A: 1'); header('Content-Type: text/x'); header_remove(); echo 1;"),
        Case::php("long header", "<?php header('X-Long: ' . str_repeat('y', 20000)); echo 1;"),
        Case::php("500 headers", "<?php for ($i = 0; $i < 500; $i++) header(\"X-$i: $i\"); echo 1;"),
        Case::php("header with newline", "<?php header(\"X-A: 1\\r\\nX-B: 2\"); echo 1;"),
        Case::php("header with NUL", "<?php header(\"X-A: 1\\0 2\"); echo 1;"),
        Case::php("header without colon", "<?php header('nonsense'); echo 1;"),
        Case::php("header with blank before colon", "<?php header('X-A : 1'); echo 1;"),
        Case::php("empty header", "<?php header(''); header('X-E:'); header('X-F: '); echo 1;"),
        Case::php("bytes in a header", "<?php header(\"X-A: \\xff\\xfe ä\"); echo 1;"),
        Case::php("Content-Length", "<?php header('Content-Length: 3'); echo 'abcdef';"),
        Case::php("header after output", "<?php echo str_repeat('x', 5000); header('X-Late: 1'); var_dump(headers_sent($file, $line), $line);"),
        Case::php("header_register_callback", "<?php header_register_callback(fn () => header('X-From-Callback: 1')); echo 1;"),
        Case::php("setcookie", "<?php setcookie('a', 'b c;d'); setcookie('e', 'f', 2000000000, '/p', 'example.test', true, true); setcookie('g', 'h', ['samesite' => 'Strict', 'expires' => 2000000000]); setrawcookie('i', 'j%k'); setcookie('gone', '', 1);")
            .mask(r"Max-Age=\d+"),
        Case::php("expose_php", "<?php var_dump(ini_get('expose_php'));"),
    ]);
    for code in [
        100, 101, 102, 103, 199, 200, 204, 205, 206, 300, 302, 303, 304, 305, 306, 307, 308, 400, 401, 404,
        405, 416, 418, 421, 422, 425, 426, 429, 431, 451, 500, 501, 505, 506, 511, 599, 999,
    ] {
        pair.case(&Case::php(
            &format!("code {code}"),
            &format!("<?php http_response_code({code}); header('X-A: 1'); echo 'body';"),
        ));
    }
    pair.finish();
}

#[test]
fn head_and_output() {
    let mut pair = Pair::start(&Setup::new().script("part.php", "<?php echo 'part';"));
    let output = "<?php header('X-A: 1'); echo str_repeat('0123456789', 3000);";
    pair.cases([
        Case::php("HEAD", output).method("HEAD"),
        Case::php("HEAD goes on after the first output", "<?php echo 'x'; flush(); file_put_contents(dirname(__DIR__) . '/tmp/head', 'went on');").method("HEAD"),
        Case::php("what HEAD left", "<?php echo file_get_contents(dirname(__DIR__) . '/tmp/head');"),
        Case::php("large output", output),
        Case::php("many small echos", "<?php for ($i = 0; $i < 20000; $i++) echo $i;"),
        Case::php("flush before output", "<?php flush(); header('X-A: 1'); echo 1;"),
        Case::php("flush between", "<?php for ($i = 0; $i < 5; $i++) { echo $i; ob_flush(); flush(); }"),
        Case::php("implicit flush", "<?php ob_implicit_flush(); echo 1; while (ob_get_level()) ob_end_flush(); echo 2; header('X-Late: 1');"),
        Case::php("levels", "<?php var_dump(ob_get_level(), ini_get('output_buffering'), ob_get_status(true));"),
        Case::php("ob callback", "<?php ob_start(fn ($text, $phase) => strtoupper($text) . $phase); echo 'abc'; ob_flush(); echo 'def';"),
        Case::php("ob callback left open", "<?php ob_start(fn ($text) => strrev($text)); echo 'abc'; header('X-Still: 1');"),
        Case::php("ob callback that sets headers", "<?php ob_start(function ($text) { header('X-Length: ' . strlen($text)); return $text; }); echo 'abc';"),
        Case::php("nested buffers", "<?php ob_start(); echo 1; ob_start(); echo 2; echo ob_get_clean() . 'x'; ob_end_flush(); echo 3;"),
        Case::php("ob_end_clean", "<?php ob_start(); echo 1; ob_end_clean(); echo 2; ob_clean(); echo 3;"),
        Case::php("output_add_rewrite_var", "<?php output_add_rewrite_var('a', 'b'); echo '<a href=\"x.php\">x</a>';"),
        Case::php("ob_gzhandler", "<?php ob_start('ob_gzhandler'); echo str_repeat('x', 100); ob_end_flush();").param("HTTP_ACCEPT_ENCODING", "deflate"),
        Case::php("zlib.output_compression", "<?php ini_set('zlib.output_compression', 1); echo str_repeat('x', 10000);").param("HTTP_ACCEPT_ENCODING", "gzip"),
        Case::php("include", "<?php include 'part.php'; include 'missing.php'; echo '.';"),
        Case::php("php://output", "<?php file_put_contents('php://output', 'a'); fwrite(fopen('php://output', 'w'), 'b'); readfile(__DIR__ . '/part.php');"),
        Case::php("binary output", "<?php for ($i = 0; $i < 256; $i++) echo chr($i);"),
        Case::php("empty output with headers sent", "<?php header('X-A: 1'); flush(); ob_end_flush(); flush();"),
        Case::php("STDOUT constants", "<?php var_dump(defined('STDIN'), defined('STDOUT'), defined('STDERR'));"),
        Case::php("stream chunks", "<?php stream_copy_to_stream(fopen('data://text/plain,' . str_repeat('z', 30000), 'r'), fopen('php://output', 'w'));"),
    ]);
    pair.same("eight megabytes", |server| {
        server.write(
            "www/eight.php",
            "<?php for ($i = 0; $i < 8; $i++) echo str_repeat(chr(65 + $i), 1 << 20);",
        );
        server.get("/eight.php").fingerprint()
    });
    for (name, code) in [
        ("output then error", "<?php echo 'a'; ob_flush(); flush(); trigger_error('e'); echo 'b';"),
        ("error then output", "<?php trigger_error('e'); echo 'b';"),
        ("only error", "<?php trigger_error('e');"),
    ] {
        // 6, 7 and 3 are STDOUT, STDERR and END_REQUEST.
        pair.same(&format!("streams, {name}"), |server| {
            server.write(&format!("www/{}.php", name.replace(' ', "-")), code);
            let reply = server.get(&format!("/{}.php", name.replace(' ', "-")));
            format!("{:?}\n{}", reply.order, reply.to_text())
        });
    }
    pair.finish();
}

#[test]
fn rfc2616_headers() {
    let mut pair = Pair::start(&Setup::new().www("php_flag[cgi.rfc2616_headers] = on"));
    pair.cases([
        Case::php("status line", "<?php header('HTTP/1.1 202 Acc'); echo 1;"),
        Case::php("code", "<?php http_response_code(404); echo 1;"),
        Case::php("plain", "<?php echo 1;"),
    ]);
    pair.finish();
}

#[test]
fn non_parsed_headers_and_exposed_php() {
    let mut pair = Pair::start(
        &Setup::new()
            .www("php_flag[cgi.nph] = on\nphp_admin_flag[expose_php] = on\nphp_value[default_charset] =")
            .arg("-d")
            .arg("expose_php=1"),
    );
    pair.cases([
        Case::php("plain", "<?php echo 1;"),
        Case::php("code", "<?php http_response_code(404); echo 1;"),
        Case::php("Status", "<?php header('Status: 403 No'); echo 1;"),
    ]);
    pair.finish();
}
