//! What a script finds in the superglobals, in getenv() and in the request functions.

use cornac_tests::{Case, Pair, Setup};

const DUMP: &str = "<?php foreach ($_SERVER as $k => $v) echo $k, '=', json_encode($v), \"\\n\";";
const TIME: &str = r"REQUEST_TIME(_FLOAT)?=[\d.]+";
const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn server_array() {
    let mut pair = Pair::start(
        &Setup::new().www("env[FROM_POOL] = pool\nenv[HTTP_HOST] = beaten").script("dump.php", DUMP),
    );
    let dump = |name: &str| Case::get(name, "/dump.php").mask(TIME);
    pair.cases([
        dump("all in order").query("a=b&c"),
        dump("post").post(FORM, "x=1"),
        dump("basic authentication").param("HTTP_AUTHORIZATION", "Basic am9lOnNlY3JldDp4"),
        dump("basic authentication, not base64").param("HTTP_AUTHORIZATION", "Basic !!"),
        dump("digest authentication").param("HTTP_AUTHORIZATION", "Digest username=\"joe\", realm=\"r\""),
        dump("bearer").param("HTTP_AUTHORIZATION", "Bearer abc"),
        dump("httpoxy").param("HTTP_PROXY", "http://evil.test/"),
        dump("repeated name")
            .with(|_, request| request.repeat("X_TWICE", "1").repeat("X_LATER", "2").repeat("X_TWICE", "3")),
        dump("empty name").with(|_, request| request.repeat("", "nothing")),
        dump("empty value").param("X_EMPTY", ""),
        dump("bytes that are no UTF-8").with(|_, request| request.repeat("X_BYTES", b"\xff\xfe\x00z")),
        dump("name with odd letters").param("x-lower.and space[1]", "v"),
        dump("name of 200 bytes").with(|_, request| request.param(&"N".repeat(200), "v")),
        dump("value of 60 KB").with(|_, request| request.param("X_LONG", "v".repeat(60_000))),
        dump("parameters of 300 KB").with(|_, request| {
            (0..30).fold(request, |request, number| request.param(&format!("X_{number}"), "v".repeat(10_000)))
        }),
        dump("3000 parameters").with(|_, request| {
            (0..3000).fold(request, |request, number| request.repeat(&format!("X_{number}"), "v"))
        }),
        dump("https").param("HTTPS", "on").param("SERVER_PORT", "443"),
        dump("no content length").without("CONTENT_LENGTH").without("CONTENT_TYPE"),
        dump("no redirect status").without("REDIRECT_STATUS"),
        dump("no query string").without("QUERY_STRING"),
        dump("no request uri").without("REQUEST_URI"),
        dump("no script name").without("SCRIPT_NAME"),
        dump("lower-case method").method("get"),
        dump("unknown method").method("BREW"),
        dump("no method").without("REQUEST_METHOD"),
        dump("own USER and PATH").param("USER", "someone").param("PATH", "/nowhere"),
    ]);
    pair.finish();
}

#[test]
fn get_post_cookie() {
    let dump = "<?php var_dump($_GET, $_POST, $_COOKIE, $_REQUEST, $_FILES);";
    let mut pair = Pair::start(&Setup::new().script("dump.php", dump));
    let dump = |name: &str| Case::get(name, "/dump.php");
    pair.cases([
        dump("query").query("a=1&b=2&a=3"),
        dump("query arrays").query("a[]=1&a[]=2&b[x][y]=3&c[=4&d]=5"),
        dump("query encoded").query("%C3%A4=%20+%00&a.b=1&c d=2"),
        dump("query without values").query("&&=x&a&b=&=%"),
        dump("query of 20000 bytes").query(&format!("a={}", "x".repeat(20_000))),
        dump("more than max_input_vars")
            .query(&(0..1005).map(|n| format!("v{n}=")).collect::<Vec<_>>().join("&")),
        dump("deep array").query(&format!("a{}=1", "[x]".repeat(70))),
        dump("form").post(FORM, "a=1&b=%26"),
        dump("form and query").query("a=get&g=1").post(FORM, "a=post&p=1"),
        dump("form with charset").post("application/x-www-form-urlencoded; charset=UTF-8", "a=1"),
        dump("form of upper case").post("Application/X-WWW-Form-URLencoded", "a=1"),
        dump("form of 300 KB").post(FORM, format!("a={}", "y".repeat(300_000))),
        dump("form by PUT").method("PUT").post(FORM, "a=1"),
        dump("form, empty").method("POST").param("CONTENT_TYPE", FORM),
        dump("unknown type").post("text/x-unknown", "a=1"),
        dump("post without type").post("", "a=1"),
        dump("cookies").param("HTTP_COOKIE", "a=1; b=2;c=3 ; a=4"),
        dump("cookies, encoded").param("HTTP_COOKIE", "a%20b=c%20d; e=%00; f=+; g"),
        dump("cookies, odd")
            .param("HTTP_COOKIE", "=x; ;;; a[b]=c; __Host-x=1; a.b=2; q=\"quoted, text\"; ä=ö"),
        dump("cookie prefixes").param("HTTP_COOKIE", "__%48ost-a=1; ..Host-b=2; [Host-c=3; __Secure-d=4"),
        dump("cookie of 9000 bytes").param("HTTP_COOKIE", &format!("a={}", "z".repeat(9000))),
        dump("many cookies")
            .param("HTTP_COOKIE", &(0..300).map(|n| format!("c{n}=v{n}")).collect::<Vec<_>>().join("; ")),
    ]);
    pair.finish();
}

#[test]
fn request_functions() {
    let mut pair = Pair::start(&Setup::new().www("env[FROM_POOL] = pool\nphp_flag[register_argc_argv] = on"));
    pair.cases([
        Case::php("getallheaders", "<?php var_dump(getallheaders() === apache_request_headers(), getallheaders());")
            .param("HTTP_X_FOO", "1")
            .param("HTTP_ACCEPT_LANGUAGE", "de")
            .param("HTTP_X__DOUBLE", "2")
            .param("HTTP_", "3")
            .param("HTTP_x_lower9A", "4")
            .post("text/plain", "abc"),
        Case::php("getenv", "<?php var_dump(getenv('FROM_POOL'), getenv('HTTP_HOST'), getenv('USER') === $_SERVER['USER'], getenv('HOME'), getenv('none'), getenv('SCRIPT_NAME', true), getenv('FROM_POOL', true));"),
        Case::php("getenv all", "<?php $all = getenv(); unset($all['CORNAC_BIN']); var_dump($all);"),
        Case::php("putenv ends with the request", "<?php var_dump(getenv('PUT')); putenv('PUT=1'); putenv('FROM_POOL'); var_dump(getenv('PUT'), getenv('FROM_POOL'));").times(3),
        Case::php("getenv after writing to $_SERVER", "<?php $_SERVER['HTTP_HOST'] = 'x'; $_ENV['Y'] = 'y'; var_dump(getenv('HTTP_HOST'), getenv('Y'));"),
        Case::php("$_ENV", "<?php var_dump($_ENV, ini_get('variables_order'));"),
        Case::php("argv", "<?php var_dump($argc ?? null, $argv ?? null, $_SERVER['argc'], $_SERVER['argv']);").query("a+b+c%20d"),
        Case::php("REQUEST_TIME", "<?php var_dump(abs($_SERVER['REQUEST_TIME'] - time()) < 3, is_float($_SERVER['REQUEST_TIME_FLOAT']), abs($_SERVER['REQUEST_TIME_FLOAT'] - microtime(true)) < 3);"),
        Case::php("filter_input", "<?php var_dump(filter_input(INPUT_GET, 'a'), filter_input(INPUT_SERVER, 'HTTP_HOST'), filter_input(INPUT_ENV, 'FROM_POOL'), filter_input(INPUT_COOKIE, 'c'), filter_has_var(INPUT_POST, 'p'));")
            .query("a=%3Cb%3E")
            .param("HTTP_COOKIE", "c=1")
            .post(FORM, "p=1"),
        Case::php("sapi", "<?php var_dump(php_sapi_name(), PHP_SAPI, PHP_VERSION, PHP_OS, PHP_EXTENSION_DIR, DEFAULT_INCLUDE_PATH, PEAR_INSTALL_DIR, PHP_SYSCONFDIR);"),
        Case::php("functions that exist", "<?php $all = get_defined_functions()['internal']; sort($all); echo implode(\"\\n\", $all);"),
        Case::php("constants", "<?php foreach (get_defined_constants(true) as $module => $constants) { unset($constants['PHP_BINARY']); echo $module, ' ', count($constants), ' ', md5(serialize(array_keys($constants))), \"\\n\"; }"),
        Case::php("loaded extensions", "<?php $all = get_loaded_extensions(); sort($all); var_dump($all, get_loaded_extensions(true));"),
        Case::php("cgi-fcgi", "<?php var_dump(extension_loaded('cgi-fcgi'), ini_get_all('cgi-fcgi'), (new ReflectionExtension('cgi-fcgi'))->getFunctions());"),
        Case::php("fpm_get_status", "<?php $s = fpm_get_status(); foreach ($s['procs'] as &$p) { $p['pid'] = $p['pid'] === getmypid(); foreach (['start-time', 'start-since', 'request-duration', 'last-request-memory', 'last-request-cpu'] as $k) $p[$k] = gettype($p[$k]); } foreach (['start-time', 'start-since'] as $k) $s[$k] = gettype($s[$k]); foreach (['accepted-conn', 'listen-queue-len'] as $k) $s[$k] = gettype($s[$k]); $s['procs'][0]['requests'] = 'n'; var_dump($s);").query("q=1"),
        Case::php("fastcgi functions", "<?php foreach (['fastcgi_finish_request', 'fpm_get_status', 'getallheaders', 'apache_request_headers'] as $f) echo new ReflectionFunction($f);"),
    ]);
    pair.finish();
}
