//! From meta-variables to the script: which file a request means, and which
//! corrections of the meta-variables the script sees in `$_SERVER`.
//!
//! This is php-fpm 8.2's order of rules, surprises included. Values end at
//! their first NUL byte, as they do for php-fpm. The file system is asked only
//! through [`Files`]; a request that needs no correction asks once and
//! allocates nothing.

mod access;
mod origin;
mod path_info;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use access::extension_allowed;

/// The parameters of a request, as they arrived.
pub trait Params {
    /// The value of the parameter called exactly `name`.
    fn param(&self, name: &[u8]) -> Option<&[u8]>;
}

/// What the file system says about a path (relative ones: from the working directory).
pub trait Files {
    /// Whether `realpath(3)` succeeds: the file or directory exists and can be reached.
    fn resolves(&self, path: &[u8]) -> bool;
    /// Whether `stat(2)` succeeds and reports a regular file.
    fn is_regular_file(&self, path: &[u8]) -> bool;
}

/// The php.ini entries that decide.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `cgi.fix_pathinfo` (default on): find PATH_INFO behind the script in a path.
    pub fix_pathinfo: bool,
    /// `cgi.discard_path` (default off): without `fix_pathinfo`, ignore PATH_TRANSLATED.
    pub discard_path: bool,
    /// `doc_root`, if set: stands in for a missing DOCUMENT_ROOT.
    pub doc_root: Option<&'a [u8]>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Settings { fix_pathinfo: true, discard_path: false, doc_root: None }
    }
}

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// PHP's `path_translated`, the file to run; `None`: answer 404 "File not found.".
    pub script: Option<Cow<'a, [u8]>>,
    /// PHP's internal `request_uri`: SCRIPT_NAME after correction, not REQUEST_URI. It is matched
    /// with the ping and status paths, printed by `%r`, and begins PHP_SELF.
    pub request_uri: Option<Cow<'a, [u8]>>,
    /// Corrections of the parameters, to be applied in this order.
    pub changes: Vec<Change<'a>>,
    /// No part of the path is a file: PHP starts the request with response code 404 instead of 200.
    pub not_found: bool,
    /// Neither SCRIPT_FILENAME nor PATH_TRANSLATED was sent. php-fpm then leaves query string, content
    /// type, content length and credentials unread, whatever the parameters say.
    pub unnamed: bool,
}

/// One correction of the request's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Give the parameter this value; one that exists keeps its place among the others.
    Set(&'static str, Cow<'a, [u8]>),
    /// Remove the parameter.
    Remove(&'static str),
}

/// Finds the script of a request and the corrections that go with it.
pub fn resolve<'a, P, F>(params: &'a P, settings: &Settings<'a>, files: &F) -> Resolved<'a>
where
    P: Params + ?Sized,
    F: Files + ?Sized,
{
    let mut draft = Draft::read(params);
    if draft.script.is_none() {
        return Resolved {
            script: None,
            request_uri: None,
            changes: Vec::new(),
            not_found: false,
            unnamed: true,
        };
    }
    origin::drop_iis_script_name(&mut draft, params);
    origin::drop_proxy_url(&mut draft);
    if settings.fix_pathinfo {
        path_info::correct(&mut draft, params, settings, files);
    } else {
        take_as_sent(&mut draft, settings);
    }
    let script = draft.script.filter(|path| !has_parent_component(path));
    Resolved {
        script: script.map(Cow::Borrowed),
        request_uri: draft.request_uri.map(Cow::Borrowed),
        changes: draft.changes,
        not_found: draft.not_found,
        unnamed: false,
    }
}

/// The rules of `cgi.fix_pathinfo=0`: no look at the file system, no correction.
fn take_as_sent(draft: &mut Draft<'_>, settings: &Settings<'_>) {
    draft.request_uri = draft.path_info.or(draft.script_name);
    if !settings.discard_path && draft.path_translated.is_some() {
        draft.script = draft.path_translated;
    }
}

fn has_parent_component(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|component| component == b"..")
}

/// The meta-variables while the rules rewrite them.
struct Draft<'a> {
    script_filename: Option<&'a [u8]>,
    path_translated: Option<&'a [u8]>,
    path_info: Option<&'a [u8]>,
    script_name: Option<&'a [u8]>,
    /// The file meant so far; `None` once it is known not to exist.
    script: Option<&'a [u8]>,
    /// SCRIPT_FILENAME was the URL of Apache's mod_proxy_fcgi or mod_proxy_balancer.
    apache: bool,
    request_uri: Option<&'a [u8]>,
    changes: Vec<Change<'a>>,
    not_found: bool,
}

impl<'a> Draft<'a> {
    fn read<P: Params + ?Sized>(params: &'a P) -> Self {
        let script_filename = param(params, "SCRIPT_FILENAME");
        let path_translated = param(params, "PATH_TRANSLATED");
        Draft {
            script_filename,
            path_translated,
            path_info: param(params, "PATH_INFO"),
            script_name: param(params, "SCRIPT_NAME"),
            script: script_filename.or(path_translated),
            apache: false,
            request_uri: None,
            changes: Vec::new(),
            not_found: false,
        }
    }

    fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, [u8]>>) {
        self.changes.push(Change::Set(name, value.into()));
    }

    /// Remembers a value about to be replaced, if there was one.
    fn keep(&mut self, name: &'static str, value: Option<&'a [u8]>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn remove(&mut self, name: &'static str) {
        self.changes.push(Change::Remove(name));
    }
}

fn param<'a, P: Params + ?Sized>(params: &'a P, name: &str) -> Option<&'a [u8]> {
    params.param(name.as_bytes()).map(until_nul)
}

fn until_nul(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or(value)
}
