//! `cgi.fix_pathinfo=1`: when the path sent is no file, walk back through it
//! to the script, and give what lay behind it to PATH_INFO.
//!
//! The original of every value replaced is kept under an `ORIG_` name.

use super::{Draft, Files, Params, Settings, param, until_nul};

/// Applies the rules of `cgi.fix_pathinfo=1`.
pub(super) fn correct<'a, P, F>(draft: &mut Draft<'a>, params: &'a P, settings: &Settings<'a>, files: &F)
where
    P: Params + ?Sized,
    F: Files + ?Sized,
{
    let doc_root = settings.doc_root.map(until_nul).filter(|root| !root.is_empty());
    if let Some(root) = doc_root
        && param(params, "DOCUMENT_ROOT").is_none()
    {
        draft.set("DOCUMENT_ROOT", root);
    }
    let name_sent = draft.script_name;
    let redirect_url = redirect_url(draft, params);
    let redirected = follow_redirect(draft, redirect_url);
    let script = draft.script.unwrap_or_default();
    if script.is_empty() || (!script.ends_with(b"/") && files.resolves(script)) {
        return accept(draft, name_sent, redirect_url.is_some(), redirected);
    }
    match base_length(script, files) {
        Some(length) => {
            split_path_info(draft, name_sent, script, length);
            let root = param(params, "DOCUMENT_ROOT").or(doc_root);
            translate_path_info(draft, &script[..length], root);
        }
        None => give_up(draft),
    }
    if draft.request_uri.is_none() {
        if draft.script_name != name_sent {
            rename(draft, name_sent);
        }
        draft.request_uri = draft.script_name;
    }
}

/// REDIRECT_URL where it means mod_fastcgi: mod_proxy_fcgi sends it too, for other reasons.
fn redirect_url<'a, P: Params + ?Sized>(draft: &Draft<'a>, params: &'a P) -> Option<&'a [u8]> {
    let concerned = draft.path_translated.is_some() || draft.path_info.is_some();
    if draft.apache || !concerned { None } else { param(params, "REDIRECT_URL") }
}

/// mod_fastcgi names the PHP executable as the script, and the real one in PATH_TRANSLATED.
fn follow_redirect<'a>(draft: &mut Draft<'a>, redirect_url: Option<&'a [u8]>) -> bool {
    let redirected =
        redirect_url.is_some() && draft.path_translated.is_some_and(|path| Some(path) != draft.script);
    if redirected {
        draft.script = draft.path_translated;
        draft.script_name = redirect_url;
    }
    redirected
}

/// The script exists as it was sent: only mod_fastcgi's variables need correction.
fn accept<'a>(draft: &mut Draft<'a>, name_sent: Option<&'a [u8]>, has_redirect_url: bool, redirected: bool) {
    if let Some(script) = draft.script
        && draft.script_filename != Some(script)
    {
        draft.keep("ORIG_SCRIPT_FILENAME", draft.script_filename);
        draft.set("SCRIPT_FILENAME", script);
    }
    if has_redirect_url {
        if let Some(info) = draft.path_info {
            draft.set("ORIG_PATH_INFO", info);
            draft.remove("PATH_INFO");
        }
        if let Some(path) = draft.path_translated {
            draft.set("ORIG_PATH_TRANSLATED", path);
            draft.remove("PATH_TRANSLATED");
        }
    }
    if redirected {
        rename(draft, name_sent);
    }
    draft.request_uri = draft.script_name;
}

/// The length of the longest part in front of a `/` that is a file. Without any `/` left, `\` separates.
fn base_length<F: Files + ?Sized>(script: &[u8], files: &F) -> Option<usize> {
    let mut end = script.len();
    loop {
        let rest = &script[..end];
        let slash = rest.iter().rposition(|byte| *byte == b'/');
        end = slash.or_else(|| rest.iter().rposition(|byte| *byte == b'\\'))?;
        if end > 0 && files.is_regular_file(&script[..end]) {
            return Some(end);
        }
    }
}

/// Divides the path into the script and PATH_INFO, and takes PATH_INFO away from the script's name.
fn split_path_info<'a>(draft: &mut Draft<'a>, name_sent: Option<&'a [u8]>, script: &'a [u8], length: usize) {
    let (base, behind) = script.split_at(length);
    let info_sent = draft.path_info;
    let info = if draft.apache {
        Some(behind).filter(|_| info_sent != Some(behind))
    } else {
        info_sent.and_then(|info| Some(info.split_at(info.len().checked_sub(behind.len())?))).and_then(longer)
    };
    if let Some(info) = info {
        match info_sent {
            Some(whole) => name_from_path_info(draft, name_sent, whole, info),
            None => shorten_name(draft, info),
        }
        draft.path_info = Some(info);
        draft.set("PATH_INFO", info);
    }
    if draft.script_filename != Some(base) {
        draft.keep("ORIG_SCRIPT_FILENAME", draft.script_filename);
        draft.set("SCRIPT_FILENAME", base);
        // Otherwise php-fpm goes on with the undivided path, which names no file.
        draft.script = Some(base);
    }
}

/// The tail, if there is something in front of it.
fn longer<'a>((head, tail): (&'a [u8], &'a [u8])) -> Option<&'a [u8]> {
    (!head.is_empty()).then_some(tail)
}

/// PATH_INFO was the whole path: what precedes the real PATH_INFO is the script's name.
fn name_from_path_info<'a>(draft: &mut Draft<'a>, name_sent: Option<&'a [u8]>, whole: &'a [u8], info: &[u8]) {
    draft.set("ORIG_PATH_INFO", whole);
    // Behind Apache the real one is no part of what was sent, and php-fpm takes it all.
    let name = if draft.apache { whole } else { &whole[..whole.len() - info.len()] };
    if name_sent != Some(name) {
        draft.keep("ORIG_SCRIPT_NAME", name_sent);
        draft.set("SCRIPT_NAME", name);
    }
    draft.request_uri = Some(name);
}

/// Behind ProxyPass, Apache knows no PATH_INFO and leaves it at the end of SCRIPT_NAME, decoded or not.
fn shorten_name<'a>(draft: &mut Draft<'a>, info: &[u8]) {
    let Some(name) = draft.script_name.filter(|_| draft.apache) else { return };
    let head = match name.strip_suffix(info) {
        Some(head) if !head.is_empty() => head,
        _ => match strip_decoded_suffix(name, info) {
            Some(head) if !head.is_empty() => head,
            _ => return,
        },
    };
    draft.set("ORIG_SCRIPT_NAME", name);
    draft.set("SCRIPT_NAME", head);
    draft.script_name = Some(head);
    draft.request_uri = Some(head);
}

/// `name` without `encoded`, URL-decoded (`+` stays), at its end. Reads both from the front, in step.
fn strip_decoded_suffix<'a>(name: &'a [u8], encoded: &[u8]) -> Option<&'a [u8]> {
    let head = name.len().checked_sub(decoded(encoded).count())?;
    decoded(encoded).eq(name[head..].iter().copied()).then(|| &name[..head])
}

/// The bytes of `text` with each `%XX` decoded; anything else stands for itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        let escaped = match (first, tail) {
            (b'%', &[high, low, ..]) => hex_digit(high).zip(hex_digit(low)),
            _ => None,
        };
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        Some(escaped.map_or(first, |(high, low)| high << 4 | low))
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// PATH_TRANSLATED: PATH_INFO as a file below the document root, or below what looks like it.
fn translate_path_info<'a>(draft: &mut Draft<'a>, base: &[u8], document_root: Option<&[u8]>) {
    let root = match (document_root, draft.script_name) {
        (Some(root), _) => root.strip_suffix(b"/").unwrap_or(root),
        (None, Some(name)) if contains(base, name) => &base[..base.len() - name.len()],
        _ => return,
    };
    let translated = [root, draft.path_info.unwrap_or_default()].concat();
    draft.keep("ORIG_PATH_TRANSLATED", draft.path_translated);
    draft.set("PATH_TRANSLATED", translated);
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn give_up(draft: &mut Draft<'_>) {
    if let Some(path) = draft.script_filename {
        draft.set("ORIG_SCRIPT_FILENAME", path);
        draft.remove("SCRIPT_FILENAME");
    }
    draft.script = None;
    draft.not_found = true;
}

/// Writes the script's name as it is now, and keeps the one sent.
fn rename<'a>(draft: &mut Draft<'a>, name_sent: Option<&'a [u8]>) {
    draft.keep("ORIG_SCRIPT_NAME", name_sent);
    if let Some(name) = draft.script_name {
        draft.set("SCRIPT_NAME", name);
    }
}
