//! What lasts from request to request and what must not: sessions, INI settings, statics, .user.ini, settings sent by
//! the web server, opcache, persistent resources, and workers that end after pm.max_requests.

use cornac_tests::{Case, Pair, Request, Setup};

#[test]
fn nothing_leaks_into_the_next_request() {
    let mut pair = Pair::start(&Setup::new().script(
        "class.php",
        "<?php class Once { static $n = 0; } function once() { static $n = 0; return ++$n; }",
    ));
    let cases = [
        ("statics", "include __DIR__ . '/class.php'; var_dump(++Once::$n, once(), once());"),
        ("globals", "var_dump(isset($GLOBALS['left'])); $GLOBALS['left'] = 1;"),
        ("constants", "var_dump(defined('LEFT')); define('LEFT', 1);"),
        ("functions", "var_dump(function_exists('left')); eval('function left() {}');"),
        (
            "ini_set",
            "var_dump(ini_get('precision'), ini_set('precision', 5), ini_get('precision'), ini_get('memory_limit')); ini_set('memory_limit', '77M');",
        ),
        ("ini_restore", "ini_set('precision', 5); ini_restore('precision'); var_dump(ini_get('precision'));"),
        ("error_reporting", "var_dump(error_reporting(1), error_reporting()); ini_set('display_errors', 1);"),
        ("handlers", "var_dump(set_error_handler(fn () => true), set_exception_handler(fn () => 1));"),
        (
            "autoloader",
            "var_dump(count(spl_autoload_functions())); spl_autoload_register(fn ($c) => print($c)); class_exists('Nothing');",
        ),
        (
            "headers",
            "var_dump(headers_list(), http_response_code()); header('X-Left: 1'); http_response_code(404);",
        ),
        ("buffers", "var_dump(ob_get_level()); ob_start(); ob_start();"),
        ("cwd", "var_dump(getcwd()); chdir('/tmp');"),
        ("umask", "var_dump(decoct(umask())); umask(0);"),
        ("locale", "var_dump(setlocale(LC_ALL, 0)); setlocale(LC_ALL, 'C.UTF-8', 'C');"),
        ("time zone", "var_dump(date_default_timezone_get()); date_default_timezone_set('Asia/Tokyo');"),
        ("putenv", "var_dump(getenv('LEFT'), getenv('TZ')); putenv('LEFT=1'); putenv('TZ=Asia/Tokyo');"),
        (
            "superglobals",
            "var_dump(isset($_GET['left'], $_SERVER['LEFT'])); $_GET['left'] = $_SERVER['LEFT'] = 1;",
        ),
        (
            "stream wrappers",
            "class W {} var_dump(in_array('left', stream_get_wrappers())); stream_wrapper_register('left', 'W');",
        ),
        (
            "unregistered wrapper",
            "var_dump(in_array('http', stream_get_wrappers())); stream_wrapper_unregister('http');",
        ),
        ("shutdown functions", "echo 'x'; register_shutdown_function(fn () => print('down'));"),
        ("random numbers", "mt_srand(5); echo mt_rand(), ' ', mt_rand();"),
        ("uploaded names and input", "var_dump(file_get_contents('php://input'), $_FILES, $_POST);"),
        ("gc", "var_dump(gc_enabled()); gc_disable();"),
        ("assert options", "var_dump(assert_options(ASSERT_ACTIVE)); assert_options(ASSERT_ACTIVE, 0);"),
        ("libxml", "var_dump(libxml_use_internal_errors(true)); "),
        (
            "mb and iconv",
            "var_dump(iconv_get_encoding('internal_encoding')); ini_set('internal_encoding', 'ISO-8859-1');",
        ),
        ("posix limits", "var_dump(posix_getuid() === posix_geteuid(), posix_isatty(0));"),
    ];
    for (name, code) in cases {
        pair.case(&Case::php(name, &format!("<?php {code}")).times(10));
    }
    pair.finish();
}

#[test]
fn sessions() {
    let lines = "php_value[session.save_path] = {dir}/tmp\nphp_value[session.gc_probability] = 0";
    let mut pair = Pair::start(&Setup::new().www(lines).pool("www", "pm.max_children = 2"));
    let session = |name: &str, code: &str| {
        Case::php(name, &format!("<?php {code}")).param("HTTP_COOKIE", "PHPSESSID=known")
    };
    pair.cases([
        Case::php("new", "<?php var_dump(session_start(), strlen(session_id()), $_SESSION, session_status());").mask("PHPSESSID=[^;\n]*"),
        session("counter", "session_start(); var_dump($_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1);").times(5),
        session("read and close", "session_start(['read_and_close' => true]); var_dump($_SESSION, session_status());"),
        session("lazy write", "session_start(); $f = session_save_path() . '/sess_known'; touch($f, 1000); session_write_close(); clearstatcache(); var_dump(filemtime($f) !== 1000, ini_get('session.lazy_write'));"),
        session("abort", "session_start(); $_SESSION['n'] = 99; session_abort(); session_start(); var_dump($_SESSION);"),
        session("written after fatal", "session_start(); $_SESSION['f'] = 1; nothing();"),
        session("read again", "session_start(); var_dump($_SESSION);"),
        session("regenerate", "session_start(); var_dump(session_regenerate_id(true), session_id() !== 'known');").mask("PHPSESSID=[^;\n]*"),
        session("destroy", "session_start(); var_dump(session_destroy(), $_SESSION);"),
        session("cache limiter", "session_cache_limiter('public'); session_cache_expire(5); session_start();").mask("(Expires|Last-Modified): .*"),
        session("started twice", "session_start(); session_start();"),
        session("invalid id", "session_start(); var_dump(session_id());").param("HTTP_COOKIE", "PHPSESSID=../../x").mask("PHPSESSID=[^;\n]*|\"[a-z0-9]{26}\""),
        session("upload progress setting", "var_dump(ini_get('session.upload_progress.enabled'));"),
        session("trans sid", "ini_set('session.use_cookies', 0); ini_set('session.use_only_cookies', 0); ini_set('session.use_trans_sid', 1); session_id('trans'); session_start(); echo '<a href=\"x.php\">x</a>';"),
        Case::php("handler class", "<?php class H extends SessionHandler { function write($i, $d): bool { echo \"write $d \"; return parent::write($i, $d); } } session_set_save_handler(new H); session_id('own'); session_start(); $_SESSION['a'] = 1; echo 'end ';"),
    ]);
    pair.finish();
}

#[test]
fn user_ini_and_prepended_files() {
    let setup = Setup::new()
        .www("php_admin_value[precision] = 7\nphp_value[serialize_precision] = 9\nphp_value[auto_prepend_file] = {dir}/www/before.inc\nphp_value[auto_append_file] = after.inc\nphp_value[include_path] = {dir}/www")
        .script("before.inc", "<?php echo \"before \"; header('X-Before: 1'); $shared = 1;")
        .script("after.inc", "<?php echo \" after $shared\";")
        .script(".user.ini", "precision = 3\nserialize_precision = 4\nmemory_limit = 99M\nexpose_php = 1\nupload_max_filesize = 3M\n")
        .script("deep/er/.user.ini", "memory_limit = 88M\nuser.own = 5\n")
        .script("deep/er/x.php", "<?php var_dump(ini_get('memory_limit'), ini_get('upload_max_filesize'), ini_get('precision'));")
        .script("none/.user.ini", "auto_prepend_file = none\nauto_append_file = none\n")
        .script("none/x.php", "<?php echo 'alone';")
        .script("broken/.user.ini", "a = (\nmemory_limit = 55M")
        .script("broken/x.php", "<?php var_dump(ini_get('memory_limit'));")
        .script("x.php", "<?php foreach (['precision', 'serialize_precision', 'memory_limit', 'expose_php', 'upload_max_filesize'] as $k) var_dump(ini_get($k)); if (isset($_GET['exit'])) exit;");
    let mut pair = Pair::start(&setup);
    pair.cases([
        Case::get("user.ini", "/x.php").times(2),
        Case::get("deeper", "/deep/er/x.php"),
        Case::get("switched off again", "/none/x.php"),
        Case::get("broken", "/broken/x.php"),
        Case::get("after the others", "/x.php"),
        Case::get("exit skips the appended file", "/x.php?exit"),
        Case::get("document root deeper than the file", "/x.php").param("DOCUMENT_ROOT", "{dir}/www/deep"),
        Case::get("document root with slash", "/deep/er/x.php").param("DOCUMENT_ROOT", "{dir}/www/"),
        Case::get("no document root", "/deep/er/x.php").without("DOCUMENT_ROOT"),
        Case::php("prepended fatal", "<?php echo 'never';").param("PHP_VALUE", ""),
        Case::get("missing script still prepends?", "/missing.php"),
    ]);
    pair.finish();
}

#[test]
fn settings_sent_by_the_web_server() {
    // In php-fpm such settings stay in the worker; here every worker serves one request.
    let mut pair = Pair::start(&Setup::new().www("pm.max_requests = 1\nphp_admin_value[memory_limit] = 66M").script("show.php", "<?php foreach (['precision', 'memory_limit', 'open_basedir', 'auto_prepend_file', 'display_errors', 'max_execution_time'] as $k) echo $k, '=', var_export(ini_get($k), true), ' '; var_dump(ini_set('precision', 8));"));
    let show = |name: &str| Case::get(name, "/show.php");
    pair.cases([
        show("none"),
        show("empty").param("PHP_VALUE", "").param("PHP_ADMIN_VALUE", ""),
        show("pool's own value wins?").param("PHP_ADMIN_VALUE", "memory_limit=88M"),
    ]);
    pair.cases([
        show("value").param("PHP_VALUE", "max_execution_time=44"),
        show("two lines").param("PHP_VALUE", "max_execution_time=45\nauto_prepend_file=none"),
        show("quoted").param("PHP_VALUE", "max_execution_time = \"46\" ; comment"),
        show("section").param("PHP_VALUE", "[x]\nmax_execution_time=47"),
        show("array").param("PHP_VALUE", "a[]=1"),
        show("unknown").param("PHP_VALUE", "nothing.known=1"),
        show("no value").param("PHP_VALUE", "max_execution_time"),
        show("syntax error").param("PHP_VALUE", "a=(\""),
        show("admin value").param("PHP_ADMIN_VALUE", "precision=9\nopen_basedir={dir}"),
    ]);
    // When the last worker ends is a matter of chance.
    pair.ignore_log();
    pair.finish();
}

#[test]
fn settings_do_not_reach_the_next_client() {
    let mut pair = Pair::start(
        &Setup::new().script("show.php", "<?php var_dump(ini_get('precision'), ini_get('open_basedir'));"),
    );
    let show = |name: &str| Case::get(name, "/show.php");
    let reason = "settings sent with a request end with that request; in php-fpm they stay in the worker";
    pair.cases([
        show("sent").param("PHP_ADMIN_VALUE", "open_basedir={dir}\nprecision=5"),
        show("not sent").differs(reason),
        show("not sent, again").differs(reason),
    ]);
    pair.finish();
}

#[test]
fn opcache() {
    let setup = Setup::new().www("pm.max_children = 3").script("cached.php", "<?php echo 'cached';").script(
        "status.php",
        "<?php $s = opcache_get_status(); $c = $s['scripts'][__DIR__ . '/cached.php'] ?? null; var_dump($s['opcache_enabled'], $c['hits'] ?? null, array_keys($s), count(opcache_get_configuration()['directives']));",
    );
    let mut pair = Pair::start(&setup);
    pair.cases([
        Case::get("cached", "/cached.php").times(30),
        Case::get("one cache for all workers", "/status.php"),
        Case::php("configuration", "<?php var_dump(opcache_get_configuration()['directives']);"),
        Case::php("invalidate", "<?php var_dump(opcache_is_script_cached(__DIR__ . '/cached.php'), opcache_invalidate(__DIR__ . '/cached.php', true), opcache_is_script_cached(__DIR__ . '/cached.php'));"),
        Case::php("compile", "<?php var_dump(opcache_compile_file(__DIR__ . '/cached.php'), opcache_is_script_cached(__DIR__ . '/cached.php'));"),
        Case::php("reset", "<?php var_dump(opcache_reset());"),
        Case::get("after reset", "/cached.php").times(5),
    ]);
    pair.same("a changed file is seen", |server| {
        server.write("www/cached.php", "<?php echo 'changed, and longer';");
        server
            .send(&Request::get(server, "/cached.php").param("PHP_VALUE", "opcache.revalidate_freq=0"))
            .to_text()
    });
    pair.finish();
}

#[test]
fn max_requests() {
    let mut pair =
        Pair::start(&Setup::new().www("pm.max_requests = 3").script("pid.php", "<?php echo getmypid();"));
    pair.same("a new worker after three requests", |server| {
        let pids: Vec<String> = (0..9).map(|_| server.get("/pid.php").body()).collect();
        let new: Vec<bool> = pids.windows(2).map(|pair| pair[0] != pair[1]).collect();
        format!("{new:?}")
    });
    let reason = "a web server may be sending the next request just when a kept connection is closed";
    pair.differs("a kept connection goes to the next worker", reason, |server| {
        let mut client = server.connect();
        let request = Request::get(server, "/pid.php").keep();
        let bodies: Vec<String> = (0..4).map(|_| client.send(&request).body()).collect();
        let new: Vec<bool> = bodies.windows(2).map(|pair| pair[0] != pair[1]).collect();
        format!("{new:?} {}", bodies[3].is_empty())
    });
    for server in pair.servers() {
        server.wait_log_times(" started", 4);
    }
    pair.finish();
}
