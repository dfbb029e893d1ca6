//! Corrections that depend on which web server sent the request, made before
//! anything else: IIS repeats SCRIPT_NAME in PATH_INFO, Apache's proxy modules
//! send a URL as SCRIPT_FILENAME.

use super::{Draft, Params, param};

/// IIS: PATH_INFO without the script's name in front.
pub(super) fn drop_iis_script_name<'a, P: Params + ?Sized>(draft: &mut Draft<'a>, params: &'a P) {
    let (Some(info), Some(name)) = (draft.path_info, draft.script_name) else { return };
    let Some(rest) = info.strip_prefix(name) else { return };
    if !param(params, "SERVER_SOFTWARE").is_some_and(|server| server.starts_with(b"Microsoft-IIS")) {
        return;
    }
    draft.set("ORIG_PATH_INFO", info);
    if rest.is_empty() {
        draft.path_info = None;
        draft.remove("PATH_INFO");
    } else {
        draft.path_info = Some(rest);
        draft.set("PATH_INFO", rest);
    }
}

/// Apache: the path of `proxy:fcgi://host:port/path?query` or `proxy:balancer://…`.
///
/// A URL without a path keeps its prefix and does not count as Apache's; its query goes all the same.
pub(super) fn drop_proxy_url(draft: &mut Draft<'_>) {
    let Some(url) = draft.script_filename else { return };
    let Some(authority) = after_scheme(url) else { return };
    let slash = authority.iter().position(|byte| *byte == b'/');
    let path = slash.map_or(url, |start| &authority[start..]);
    let path = path.split(|byte| *byte == b'?').next().unwrap_or(path);
    draft.apache = slash.is_some();
    if path != url {
        draft.set_script_filename(path);
    }
}

fn after_scheme(url: &[u8]) -> Option<&[u8]> {
    [b"proxy:fcgi://".as_slice(), b"proxy:balancer://"].into_iter().find_map(|scheme| {
        let (head, rest) = url.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

impl<'a> Draft<'a> {
    fn set_script_filename(&mut self, path: &'a [u8]) {
        self.script_filename = Some(path);
        self.script = Some(path);
        self.set("SCRIPT_FILENAME", path);
    }
}
