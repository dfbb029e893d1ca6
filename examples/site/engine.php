<?php
// What PHP knows about itself, its pool and this request.
declare(strict_types=1);
require __DIR__ . '/layout.php';

$pool = function_exists('fpm_get_status') ? (fpm_get_status() ?: []) : [];
$worker = array_values(array_filter($pool['procs'] ?? [], fn ($one) => $one['pid'] === getmypid()))[0] ?? [];
$opcache = function_exists('opcache_get_status') ? (opcache_get_status(false) ?: []) : [];
$scanned = array_filter(array_map('trim', explode(',', (string) php_ini_scanned_files())));
$user = function_exists('posix_geteuid') ? (posix_getpwuid(posix_geteuid())['name'] ?? posix_geteuid()) : get_current_user();

/** A figure in large type, with a meter below it where there is a maximum. */
function figure(string $label, string $value, ?float $share = null): void
{
    echo '<div class="figure"><span class="label">', e($label), '</span><strong>', e($value), '</strong>';
    if ($share !== null) {
        printf('<meter min="0" max="1" value="%.4f">%.0f %%</meter>', $share, $share * 100);
    }
    echo "</div>\n";
}

page_head('Engine', 'What PHP knows about itself, its pool and this request. Reload and see which worker answers.');

echo "<div class=\"figures\">\n";
figure('PHP', PHP_VERSION);
figure('SAPI', PHP_SAPI);
figure('worker', (string) getmypid());
figure('requests of this worker', (string) ($worker['requests'] ?? 'not told'));
figure('memory of this request', bytes(memory_get_usage()));
if ($opcache) {
    $memory = $opcache['memory_usage'];
    $total = $memory['used_memory'] + $memory['free_memory'] + $memory['wasted_memory'];
    figure('opcache hits', number_format($opcache['opcache_statistics']['opcache_hit_rate'], 1) . ' %',
        $opcache['opcache_statistics']['opcache_hit_rate'] / 100);
    figure('opcache memory', bytes($memory['used_memory']), $memory['used_memory'] / max(1, $total));
}
echo "</div>\n";

table('Pool', $pool ? [
    'pool' => $pool['pool'],
    'process manager' => $pool['process-manager'],
    'accepted connections' => $pool['accepted-conn'],
    'workers' => "{$pool['active-processes']} active, {$pool['idle-processes']} idle, {$pool['total-processes']} in all",
    'most active at once' => $pool['max-active-processes'],
    'runs as' => $user,
    'worker’s memory at most' => bytes(memory_get_peak_usage(true)) . ' of ' . ini_get('memory_limit'),
] : ['runs as' => $user, 'status' => 'this SAPI has no fpm_get_status()']);

table('Opcache', $opcache ? [
    'state' => $opcache['opcache_enabled'] ? 'on' : 'off',
    'scripts' => $opcache['opcache_statistics']['num_cached_scripts'],
    'hits' => $opcache['opcache_statistics']['hits'],
    'misses' => $opcache['opcache_statistics']['misses'],
    'interned strings' => bytes($opcache['interned_strings_usage']['used_memory'] ?? 0),
    'JIT' => ($opcache['jit']['on'] ?? false) ? 'on' : 'off',
    'restarts' => $opcache['opcache_statistics']['oom_restarts'] + $opcache['opcache_statistics']['hash_restarts']
        + $opcache['opcache_statistics']['manual_restarts'],
] : ['state' => extension_loaded('Zend OPcache') ? 'loaded, but off' : 'not loaded']);

table('Configuration', [
    'php.ini' => php_ini_loaded_file() ?: 'none',
    'further ini files' => $scanned ?: 'none',
    'extensions' => implode(', ', get_loaded_extensions()),
    'Zend engine' => zend_version(),
    'thread safety' => PHP_ZTS ? 'yes' : 'no',
    'system' => php_uname(),
]);

$server = $_SERVER;
ksort($server);
table('$_SERVER', array_map(fn ($value) => is_scalar($value) ? $value : print_r($value, true), $server));

page_foot();
