//! What is decided once the script is known: whether its name may be run at
//! all, and what PHP calls it.

use std::borrow::Cow;

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

/// The value of PHP_SELF: the internal `request_uri`, and behind it PATH_INFO as corrected when
/// `cgi.fix_pathinfo` is on. Allocates only when both have something to say.
pub fn php_self<'a>(
    fix_pathinfo: bool,
    request_uri: Option<&'a [u8]>,
    path_info: Option<&'a [u8]>,
) -> Cow<'a, [u8]> {
    let name = request_uri.unwrap_or_default();
    match path_info.filter(|_| fix_pathinfo).unwrap_or_default() {
        [] => Cow::Borrowed(name),
        info if name.is_empty() => Cow::Borrowed(info),
        info => Cow::Owned([name, info].concat()),
    }
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

    #[test]
    fn php_self_joins_name_and_path_info() {
        let cases: &[(bool, Option<&str>, Option<&str>, &str)] = &[
            (true, Some("/env.php"), Some("/x"), "/env.php/x"),
            (true, Some("/env.php"), Some(""), "/env.php"),
            (true, Some("/env.php"), None, "/env.php"),
            (true, None, Some("/x"), "/x"),
            (true, None, None, ""),
            (false, Some("/env.php"), Some("/x"), "/env.php"),
            (false, None, Some("/x"), ""),
        ];
        for (fix, uri, info, expected) in cases {
            let value = php_self(*fix, uri.map(str::as_bytes), info.map(str::as_bytes));
            assert_eq!(value, expected.as_bytes(), "{fix} {uri:?} {info:?}");
        }
    }
}
