//! The table of loads: which script is asked for, over what kind of connections, and the only answer that counts.

/// One kind of traffic.
pub(crate) struct Load {
    /// How it is named in the report.
    pub(crate) name: &'static str,
    /// File name of the script in the document root.
    pub(crate) script: &'static str,
    /// The script's text.
    pub(crate) code: &'static str,
    /// Whether connections are kept, or each request has its own.
    pub(crate) keep: bool,
    /// The whole body, byte for byte; the status is always 200.
    pub(crate) body: &'static [u8],
}

const HELLO: &str = "<?php echo 'Hello, world!';\n";

/// Every load of the comparison.
pub(crate) const LOADS: [Load; 2] = [
    Load {
        name: "hello, new connections",
        script: "hello.php",
        code: HELLO,
        keep: false,
        body: b"Hello, world!",
    },
    Load {
        name: "hello, kept connections",
        script: "hello.php",
        code: HELLO,
        keep: true,
        body: b"Hello, world!",
    },
];

/// Says under which settings a server runs, one `name=value` per line. Both sides have to say the same.
pub(crate) const SETTINGS_SCRIPT: (&str, &str) = (
    "settings.php",
    r#"<?php
$status = function_exists('opcache_get_status') ? opcache_get_status(false) : [];
$settings = [
    'PHP version' => PHP_VERSION,
    'SAPI' => PHP_SAPI,
    'php.ini' => php_ini_loaded_file() ?: 'none',
    'further ini files' => str_replace("\n", '', php_ini_scanned_files() ?: 'none'),
    'extensions' => implode(' ', get_loaded_extensions()),
    'opcache' => ($status['opcache_enabled'] ?? false) ? 'on' : 'off',
    'JIT' => ($status['jit']['on'] ?? false) ? 'on' : 'off',
    'user' => function_exists('posix_geteuid') ? posix_geteuid() : get_current_user(),
];
foreach (ini_get_all(null, false) as $name => $value) {
    $settings[$name] = $value;
}
foreach ($settings as $name => $value) {
    echo $name, '=', json_encode($value), "\n";
}
"#,
);
