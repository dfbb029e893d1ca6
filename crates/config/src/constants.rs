//! The engine's constants that make sense as a bare word in a configuration file. The engine knows hundreds more;
//! those are left as the words they are.

/// The value of a constant as text; names are case-sensitive.
pub(crate) fn value(name: &[u8]) -> Option<Vec<u8>> {
    const TABLE: &[(&str, &str)] = &[
        ("E_ERROR", "1"),
        ("E_WARNING", "2"),
        ("E_PARSE", "4"),
        ("E_NOTICE", "8"),
        ("E_CORE_ERROR", "16"),
        ("E_CORE_WARNING", "32"),
        ("E_COMPILE_ERROR", "64"),
        ("E_COMPILE_WARNING", "128"),
        ("E_USER_ERROR", "256"),
        ("E_USER_WARNING", "512"),
        ("E_USER_NOTICE", "1024"),
        ("E_STRICT", "2048"),
        ("E_RECOVERABLE_ERROR", "4096"),
        ("E_DEPRECATED", "8192"),
        ("E_USER_DEPRECATED", "16384"),
        ("E_ALL", "32767"),
        ("PHP_SAPI", "fpm-fcgi"),
        ("PHP_OS", "Linux"),
        ("PHP_OS_FAMILY", "Linux"),
        ("PHP_INT_MAX", "9223372036854775807"),
        ("PHP_INT_SIZE", "8"),
        ("DIRECTORY_SEPARATOR", "/"),
        ("PATH_SEPARATOR", ":"),
    ];
    let row = TABLE.iter().find(|row| row.0.as_bytes() == name)?;
    Some(row.1.as_bytes().to_vec())
}
