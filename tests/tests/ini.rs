//! Settings: php.ini and its folder, `-c -n -d`, php_value and its siblings in the pool, env[] and clear_env.

use cornac_tests::{Case, Pair, Setup};

const INI: &str = "<?php var_dump(php_ini_loaded_file(), php_ini_scanned_files(), get_cfg_var('cfg_file_path'), get_cfg_var('own.setting'), ini_get('precision'), ini_get('memory_limit'), ini_get('extension_dir'), count(get_loaded_extensions()));";

/// Why admin values of the pool show where php-fpm shows php.ini's.
const START_UP: &str =
    "every pool has a PHP start-up of its own, so settings of the engine's start-up can be given per pool";

fn ini_of(setup: Setup) {
    let mut pair = Pair::start(
        &setup.script("ini.php", INI).script("info.php", "<?php phpinfo(INFO_CONFIGURATION | INFO_MODULES);"),
    );
    pair.cases([
        Case::get("ini", "/ini.php"),
        Case::php(
            "all settings",
            "<?php foreach (ini_get_all() as $k => $v) echo $k, '=', json_encode($v), \"\\n\";",
        ),
        Case::get("phpinfo", "/info.php").mask(
            r"(cached|start|Start|Free|free|Used|Interned|Hash|opcache|hits|Cache|memory|restart)[^\n]*",
        ),
    ]);
    pair.finish();
}

#[test]
fn installed_ini() {
    ini_of(Setup::new());
}

#[test]
fn no_ini() {
    ini_of(Setup::new().arg("-n"));
}

#[test]
fn ini_file() {
    let setup = Setup::new()
        .file("etc/own.ini", "precision = 5\nown.setting = \"of the file\"\nmemory_limit = ${LIMIT}\n");
    ini_of(setup.env("LIMIT", "77M").arg("-c").arg("{dir}/etc/own.ini"));
}

#[test]
fn ini_folder() {
    ini_of(
        Setup::new().file("etc/php.ini", "precision = 6\nown.setting = folder\n").arg("-c").arg("{dir}/etc"),
    );
}

#[test]
fn ini_of_this_sapi_and_scan_folder() {
    let setup =
        Setup::new().file("etc/php.ini", "precision = 6\n").file("etc/php-fpm-fcgi.ini", "precision = 7\n");
    let setup = setup
        .file("scan/b.ini", "precision = 8\n")
        .file("scan/a.ini", "precision = 9\nown.setting = scanned\n");
    ini_of(setup.env("PHP_INI_SCAN_DIR", "{dir}/scan").env("PHPRC", "{dir}/etc"));
}

#[test]
fn definitions() {
    ini_of(
        Setup::new()
            .arg("-d")
            .arg("precision=4")
            .arg("-dmemory_limit=66M")
            .arg("-d")
            .arg("own.setting")
            .arg("-d")
            .arg("error_prepend_string=\"a b\""),
    );
}

#[test]
fn ini_sections_by_host_and_path() {
    let ini = "precision = 5\n[HOST=other.test]\nprecision = 6\n[PATH={dir}/www/sub]\nprecision = 7\n";
    let show = "<?php var_dump(ini_get('precision'), ini_set('precision', 9));";
    let mut pair = Pair::start(
        &Setup::new()
            .file("own.ini", ini)
            .arg("-c")
            .arg("{dir}/own.ini")
            .script("show.php", show)
            .script("sub/show.php", show),
    );
    pair.cases([
        Case::get("neither", "/show.php"),
        Case::get("host", "/show.php").param("SERVER_NAME", "Other.Test"),
        Case::get("path", "/sub/show.php"),
        Case::get("neither again", "/show.php"),
    ]);
    pair.finish();
}

#[test]
fn values_of_the_pool() {
    let lines = "php_value[precision] = 5
php_value[precision] = 6
php_flag[html_errors] = on
php_admin_value[memory_limit] = 66M
php_admin_flag[allow_url_fopen] = off
php_value[user.own] = unknown names are ignored
php_admin_value[disable_functions] = strrev,str_rot13
php_admin_value[disable_classes] = SplStack
php_admin_value[open_basedir] = {dir}:/tmp/$pool
php_admin_value[error_log] = log/php.log
php_value[session.cookie_path] = relative
php_value[date.timezone] = Europe/Berlin
php_value[arg_separator.output] = \"&amp;\"
php_value[error_reporting] = E_ALL & ~E_NOTICE
php_admin_value[sendmail_path] = \"/bin/true -t -i\"
php_admin_value[max_execution_time] = 11";
    let mut pair = Pair::start(&Setup::new().www(lines).www("catch_workers_output = yes"));
    let names = "['precision', 'html_errors', 'memory_limit', 'allow_url_fopen', 'user.own', 'open_basedir', 'error_log', 'session.cookie_path', 'date.timezone', 'arg_separator.output', 'error_reporting', 'sendmail_path', 'max_execution_time', 'disable_functions', 'disable_classes']";
    pair.cases([
        Case::php("ini_get", &format!("<?php foreach ({names} as $k) echo $k, '=', var_export(ini_get($k), true), ' ', json_encode(ini_get_all()[$k] ?? null), \"\\n\";")),
        Case::php("ini_set", &format!("<?php foreach ({names} as $k) echo $k, '=', var_export(@ini_set($k, '1'), true), ' ', var_export(ini_get($k), true), \"\\n\";")),
        Case::php("ini_restore", &format!("<?php foreach ({names} as $k) {{ @ini_set($k, '1'); ini_restore($k); echo $k, '=', var_export(ini_get($k), true), \"\\n\"; }}")),
        Case::php("ini_get_all", "<?php foreach (ini_get_all() as $k => $v) echo $k, '=', json_encode($v), \"\\n\";"),
        Case::php("set_time_limit", "<?php var_dump(set_time_limit(5), ini_get('max_execution_time'));"),
        Case::php("disabled functions", "<?php var_dump(function_exists('strrev'), function_exists('str_rot13'), function_exists('strlen')); strrev('x');"),
        Case::php("disabled classes", "<?php var_dump(new SplStack);"),
        Case::php("open_basedir", "<?php var_dump(file_exists('/etc/passwd'), @file_get_contents('/etc/passwd'), ini_set('open_basedir', '/'));"),
        Case::php("time zone", "<?php echo date('e', 0), date_default_timezone_get();"),
        Case::php("get_cfg_var", "<?php var_dump(get_cfg_var('precision'));"),
        Case::php("get_cfg_var of an admin value", "<?php var_dump(get_cfg_var('memory_limit'));").differs(START_UP),
        Case::php("phpinfo of a setting", "<?php ob_start(); phpinfo(INFO_CONFIGURATION); preg_match_all('/(precision|memory_limit|allow_url_fopen).*/', ob_get_clean(), $m); var_dump($m[0]);"),
    ]);
    pair.log_differs("a setting PHP does not know is logged once, by the pool, not by every worker");
    pair.finish();
}

#[test]
fn values_that_php_refuses() {
    let lines = "php_admin_value[memory_limit] = 1K
php_value[nothing.known] = 1
php_admin_value[date.timezone] = Nowhere/Land
php_value[extension_dir] = /nowhere
php_admin_value[zend.assertions] = 1
php_admin_value[session.save_handler] = nothing
php_admin_value[opcache.max_accelerated_files] = 200";
    let mut pair = Pair::start(&Setup::new().www(lines).www("catch_workers_output = yes"));
    pair.cases([Case::php("ini_get", "<?php foreach (['memory_limit', 'nothing.known', 'date.timezone', 'extension_dir', 'session.save_handler'] as $k) var_dump(ini_get($k));")]);
    let keys = "opcache_get_status(false)['opcache_statistics']['max_cached_keys']";
    pair.cases([
        Case::php("room in opcache", &format!("<?php var_dump({keys});")).differs(START_UP),
        Case::php("assertions", "<?php var_dump(ini_get('zend.assertions'));").differs(START_UP),
    ]);
    pair.ignore_log();
    pair.finish();
}

#[test]
fn environment_of_the_pool() {
    let lines = "env[PLAIN] = plain
env[QUOTED] = \"a b;c\"
env[FROM_MASTER] = $GIVEN
env[UNKNOWN] = $NOT_THERE
env[POOL] = in $pool
env[PATH] = /only/here
env[TMP] = /tmp
env[PHP_SELF] = beaten
env[TWICE] = first
env[TWICE] = second";
    let dump = "<?php foreach (getenv() as $k => $v) if (!str_starts_with($k, 'CORNAC_')) echo $k, '=', $v, \"\\n\"; system('/usr/bin/env | grep -v CORNAC_ | sort'); var_dump(sys_get_temp_dir());";
    for (name, more) in [
        ("cleared", ""),
        ("not cleared", "clear_env = no"),
        ("home of its own", "env[HOME] = /own\nenv[USER] = own"),
    ] {
        let setup = Setup::new()
            .www(lines)
            .www(more)
            .env("GIVEN", "from the master")
            .env("SECRET", "seen only if not cleared");
        let mut pair = Pair::start(&setup);
        // The shell adds these by itself.
        pair.case(&Case::php(name, dump).mask("(?m)^(_|PWD|SHLVL)=.*"));
        pair.finish();
    }
}

#[test]
fn preload() {
    let setup = Setup::new()
        .www("php_admin_value[memory_limit] = 100M")
        .file("preload/p.php", "<?php class Preloaded { const X = 'preloaded'; } function preloaded() { return 1; } require __DIR__ . '/q.php';")
        .file("preload/q.php", "<?php class AlsoPreloaded {}")
        .arg("-dopcache.preload={dir}/preload/p.php")
        .arg("-dopcache.preload_user={user}");
    let mut pair = Pair::start(&setup);
    pair.cases([
        Case::php(
            "class",
            "<?php var_dump(Preloaded::X, preloaded(), class_exists('AlsoPreloaded', false));",
        )
        .times(3),
        Case::php("statistics", "<?php var_dump(opcache_get_status()['preload_statistics']['classes']);"),
        Case::php("redeclared", "<?php class Preloaded {}"),
    ]);
    pair.finish();
}
