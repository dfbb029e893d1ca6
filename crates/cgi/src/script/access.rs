//! What is decided once the script is known: whether its name may be run at
//! all.

/// Whether `security.limit_extensions` lets PHP run `script`.
///
/// An empty list allows everything. An entry is a plain, case-sensitive suffix (`php` allows `x.notphp`
/// too), and something must stand in front of it.
pub fn extension_allowed<E: AsRef<[u8]>>(script: &[u8], extensions: &[E]) -> bool {
    extensions.is_empty()
        || extensions.iter().any(|extension| {
            script.strip_suffix(extension.as_ref()).is_some_and(|in_front| !in_front.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_plain_suffixes() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("/w/a.php", &[".php"], true),
            ("/w/.php", &[".php"], true),
            (".php", &[".php"], false),
            ("/w/a.PHP", &[".php"], false),
            ("/w/a.phpx", &[".php"], false),
            ("/w/a.notphp", &["php"], true),
            ("/w/php", &["php"], true),
            ("/w/a.x", &[".php", ".x"], true),
            ("/w/a.b", &["/w/a.b"], false),
            ("", &[".php"], false),
            ("", &[], true),
            ("/w/hello.txt", &[], true),
        ];
        for (script, extensions, allowed) in cases {
            assert_eq!(extension_allowed(script.as_bytes(), extensions), *allowed, "{script} {extensions:?}");
        }
    }
}
