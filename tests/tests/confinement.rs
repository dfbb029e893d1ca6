//! Where scripts live and what a pool's settings allow: chroot, chdir, doc_root, user_dir, cgi.* and fastcgi.* settings,
//! open_basedir, environment, prefix; system settings in php_admin_value, which work here alone.

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::run::until_exit;
use cornac_tests::{Case, Pair, Plays, Setup, Side, skip_unless_root};

const WHERE: &str = "<?php foreach (['SCRIPT_FILENAME', 'SCRIPT_NAME', 'PATH_INFO', 'PATH_TRANSLATED', 'PHP_SELF', 'DOCUMENT_ROOT', 'ORIG_SCRIPT_FILENAME', 'ORIG_PATH_INFO'] as $k) echo $k, '=', $_SERVER[$k] ?? '-', \"\\n\"; echo __FILE__, ' ', getcwd();";

fn pair(lines: &str) -> Pair {
    Pair::start(
        &Setup::new()
            .www(lines)
            .script("where.php", WHERE)
            .script("sub/deep.php", WHERE)
            .script("index.php", WHERE),
    )
}

fn requests() -> Vec<Case> {
    vec![
        Case::get("plain", "/where.php"),
        Case::get("path info", "/where.php/more/path"),
        Case::get("below", "/sub/deep.php?a=b"),
        Case::get("folder", "/sub/"),
        Case::get("missing", "/missing.php"),
        Case::get("without SCRIPT_FILENAME", "/where.php").without("SCRIPT_FILENAME"),
        Case::get("only PATH_TRANSLATED", "/where.php")
            .without("SCRIPT_FILENAME")
            .param("PATH_TRANSLATED", "{dir}/www/where.php"),
        Case::get("user's page", "/~nobody/where.php").without("SCRIPT_FILENAME"),
    ]
}

#[test]
fn settings_that_decide_on_the_script() {
    for lines in [
        "php_admin_value[doc_root] = {dir}/www",
        "php_admin_value[doc_root] = {dir}/www/",
        "php_admin_value[doc_root] = {dir}/www/sub",
        "php_admin_value[doc_root] = /nowhere",
        "php_admin_value[user_dir] = public_html",
        "php_admin_value[cgi.fix_pathinfo] = 0",
        "php_admin_value[cgi.fix_pathinfo] = 0\nphp_admin_value[doc_root] = {dir}/www",
        "php_admin_value[cgi.discard_path] = 1",
        "php_admin_value[open_basedir] = {dir}/www/sub",
        "php_admin_value[include_path] = {dir}/www/sub",
        "security.limit_extensions = .html",
        "security.limit_extensions =",
        "chdir = {dir}/www/sub",
    ] {
        let mut pair = pair(lines);
        pair.cases(requests());
        pair.finish();
    }
}

#[test]
fn settings_of_the_gateway() {
    let scripts = [
        ("header.php", "<?php header('X-A: b'); http_response_code(404); echo 'body';"),
        ("location.php", "<?php header('Location: /elsewhere'); echo 'body';"),
        ("fatal.php", "<?php ini_set('display_errors', 0); nothing();"),
        ("log.php", "<?php ini_set('log_errors', 1); trigger_error('told'); echo 'x';"),
    ];
    for lines in [
        "php_admin_value[cgi.rfc2616_headers] = 1",
        "php_admin_value[cgi.nph] = 1",
        "php_admin_value[cgi.force_redirect] = 1",
        "php_admin_value[cgi.redirect_status_env] = NOTHING",
        "php_admin_value[fastcgi.logging] = 0",
        "php_admin_value[fastcgi.error_header] = \"HTTP/1.1 555 Sorry\"",
        "php_admin_value[expose_php] = 1",
        "php_admin_value[default_charset] = iso-8859-1",
        "php_admin_value[default_mimetype] = text/plain",
    ] {
        let mut setup = Setup::new().www(lines);
        for (name, code) in scripts {
            setup = setup.script(name, code);
        }
        let setup = setup.script("shebang.php", "#!/usr/bin/php\n<?php echo 'after the first line';");
        let mut pair = Pair::start(&setup);
        pair.cases(
            ["header", "location", "fatal", "log", "shebang"]
                .map(|name| Case::get(&format!("{name}, {lines}"), &format!("/{name}.php"))),
        );
        pair.finish();
    }
}

/// No AppArmor where the tests run, or no such hat. php-fpm's workers end one after the other, for ever.
#[test]
fn a_hat_that_cannot_be_put_on() {
    if same_on_both_sides() {
        return;
    }
    let said = until_exit(Side::Subject, &Setup::new().www("apparmor_hat = none-of-this-name"));
    let known = ["failed to query apparmor confinement", "failed to change to new confinement"];
    assert!(known.iter().any(|text| said.contains(&format!("[pool www] {text}"))), "{said}");
    assert!(said.starts_with("exit: 78") && said.contains("FPM initialization failed"), "{said}");
}

/// These have to be known when PHP starts: php-fpm starts it once, before it looks at the pools.
#[test]
fn system_settings_of_a_pool() {
    let reason = "each pool starts PHP with its own php_admin_value lines";
    let mut pair = Pair::start(&Setup::new().www(
        "php_admin_value[opcache.memory_consumption] = 16\nphp_admin_value[zend.assertions] = 1\n\
         php_admin_value[opcache.validate_timestamps] = 0\nphp_admin_value[realpath_cache_size] = 64K",
    ));
    pair.cases([
        // The sum that opcache reports is what the setting says, not what there is.
        Case::php(
            "memory of opcache",
            "<?php var_dump(opcache_get_status(false)['memory_usage']['free_memory'] <= 16 << 20);",
        )
        .differs(reason),
        Case::php(
            "assertions",
            "<?php try { assert(false); echo 'no assertion'; } catch (AssertionError) { echo 'asserted'; }",
        )
        .differs(reason),
        Case::php(
            "realpath cache",
            "<?php var_dump(ini_get('realpath_cache_size'), ini_get('opcache.validate_timestamps'));",
        ),
    ]);
    pair.ignore_log();
    pair.finish();
    let mut pair = Pair::start(&Setup::new().www("php_admin_value[opcache.enable] = 0"));
    pair.case(
        &Case::php("opcache switched off", "<?php var_dump(is_array(@opcache_get_status()));")
            .differs(reason),
    );
    pair.ignore_log();
    pair.finish();
}

#[test]
fn environments() {
    let dump = "<?php $all = getenv(); ksort($all); foreach ($all as $k => $v) if (!str_starts_with($k, 'CORNAC_')) echo \"$k=$v\\n\"; echo $_ENV['A'] ?? '-', $_SERVER['A'] ?? '-';";
    let mut plays = Plays::default();
    for (name, lines) in [
        ("nothing", ""),
        ("clear_env = no", "clear_env = no"),
        ("clear_env = yes and a variable", "clear_env = yes\nenv[A] = b"),
        ("a variable of the master's", "env[A] = $GIVEN"),
        ("a variable that is not there", "env[A] = $MISSING"),
        ("a quoted one", "env[A] = \"x y\""),
        ("equal signs", "env[A] = \"x=y\""),
        ("variables_order", "env[A] = b\nphp_admin_value[variables_order] = EGPCS"),
        ("overrides the master's", "clear_env = no\nenv[GIVEN] = own"),
        ("overridden by the request", "env[REQUEST_METHOD] = own"),
    ] {
        let setup = Setup::new().www(lines).env("GIVEN", "given").script("x.php", dump);
        plays.add(name, setup, |scene| {
            scene.get("/x.php").get("/x.php");
        });
    }
    plays.refused("an empty one", Setup::new().www("env[A] ="));
    plays.refused("bare equal signs", Setup::new().www("env[A] = x=y"));
    plays.run();
}

#[test]
fn roots() {
    if skip_unless_root("chroot", 6) {
        return;
    }
    let code = "<?php echo getcwd(), ' ', __FILE__, ' ', implode(',', array_diff(scandir('/'), ['.', '..'])), ' ', json_encode(@file_get_contents('/etc/hostname')), ' ', sys_get_temp_dir();";
    let mut plays = Plays::default();
    for (name, lines) in [
        ("plain", "chroot = {dir}/www"),
        ("chdir", "chroot = {dir}/www\nchdir = /sub"),
        ("slow log inside", "chroot = {dir}/www\nslowlog = {dir}/slow.log\nrequest_slowlog_timeout = 5s"),
        ("prefix", "prefix = {dir}\nchroot = $prefix/www"),
        ("several workers", "chroot = {dir}/www\npm.max_children = 3"),
        ("ondemand", "chroot = {dir}/www\npm = ondemand\npm.max_children = 2"),
    ] {
        let setup = Setup::new().www(lines).script("x.php", code).script("sub/y.php", code);
        let play = plays.add(name, setup, |scene| {
            for script in ["/x.php", "/sub/y.php", "/missing.php"] {
                let server = scene.server();
                let request = cornac_tests::Request::get(server, script)
                    .param("SCRIPT_FILENAME", script)
                    .param("DOCUMENT_ROOT", "/");
                let reply = server.send(&request).to_text();
                scene.note(reply);
            }
            scene.get("/x.php");
        });
        if name == "ondemand" {
            // php-fpm forks a worker too many when the next connection is early.
            play.without_log();
        }
    }
    plays.run();
}

#[test]
fn prefixes() {
    let mut plays = Plays::default();
    for (name, lines) in [
        ("of the pool", "prefix = {dir}\nlisten = www.sock\naccess.log = access.log"),
        ("in a value", "prefix = {dir}\nlisten = $pool.sock\nphp_value[include_path] = $prefix/$pool"),
        ("the pool's name", "env[WHO] = $pool\nlisten = {dir}/$pool.sock"),
    ] {
        let setup =
            Setup::new().www(lines).script("x.php", "<?php echo getenv('WHO'), ini_get('include_path');");
        plays.add(name, setup, |scene| {
            scene.get("/x.php").stop(cornac_tests::Signal::SIGTERM);
        });
    }
    plays.run();
}
