//! Which script a request means: the rules are in the crate `cgi`, the file system is asked through PHP's
//! realpath cache, and the result is what the shim gets.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use board::message::PoolSpec;
use cgi::script::{Change, Files, extension_allowed};

use super::params::Params;
use crate::php::{self, Request, Text, Verdict};
use crate::task::c_string;

/// A request whose script is known.
pub(super) struct Resolved {
    script: Option<CString>,
    request_uri: Option<CString>,
    verdict: Verdict,
    status: i32,
    /// Neither SCRIPT_FILENAME nor PATH_TRANSLATED came: PHP gets to know no more than the method.
    unnamed: bool,
    ping_response: Text,
}

/// What PHP's realpath cache and the file system know.
struct PhpFiles;

impl Files for PhpFiles {
    fn resolves(&self, path: &[u8]) -> bool {
        php::path_resolves(&c_string(path))
    }

    fn is_regular_file(&self, path: &[u8]) -> bool {
        Path::new(std::ffi::OsStr::from_bytes(path)).metadata().is_ok_and(|facts| facts.is_file())
    }
}

/// Applies the rules, corrects the parameters and decides whether the script may run.
pub(super) fn resolve(params: &mut Params, spec: &'static PoolSpec) -> Resolved {
    let settings = php::script_settings();
    let resolved = cgi::script::resolve(&*params, &settings, &PhpFiles);
    let script = resolved.script.as_deref().map(c_string);
    let request_uri = resolved.request_uri.as_deref().map(c_string);
    let (not_found, unnamed) = (resolved.not_found, resolved.unnamed);
    let changes: Vec<(&str, Option<Vec<u8>>)> = resolved
        .changes
        .into_iter()
        .map(|change| match change {
            Change::Set(name, value) => (name, Some(value.into_owned())),
            Change::Remove(name) => (name, None),
        })
        .collect();
    for (name, value) in changes {
        match value {
            Some(value) => params.set(name.as_bytes(), &value),
            None => params.remove(name.as_bytes()),
        }
    }
    params.seal();
    let page = request_uri.as_deref().and_then(|uri| own_page(uri.to_bytes(), spec));
    let verdict = page.unwrap_or_else(|| judge(script.as_deref(), spec));
    let status = if not_found { 404 } else { 200 };
    let response = spec.ping.as_ref().map_or(&b""[..], |ping| &ping.response);
    Resolved { script, request_uri, verdict, status, unnamed, ping_response: Text::new(response) }
}

fn judge(script: Option<&CStr>, spec: &PoolSpec) -> Verdict {
    match script.map(CStr::to_bytes) {
        None => Verdict::NotFound,
        Some(b"") if spec.limit_extensions.is_empty() => Verdict::NotFound,
        Some(path) if extension_allowed(path, &spec.limit_extensions) => Verdict::Run,
        Some(_) => Verdict::Denied,
    }
}

/// Ping and status pages are found by the request URI alone, whatever the script may be.
fn own_page(uri: &[u8], spec: &PoolSpec) -> Option<Verdict> {
    if spec.ping.as_ref().is_some_and(|ping| ping.path == uri) {
        return Some(Verdict::Ping);
    }
    spec.status_path.as_ref().is_some_and(|path| path == uri).then_some(Verdict::Status)
}

impl Resolved {
    /// The request for the shim. Its pointers lead into `self`, `params` and the pool's description.
    pub(super) fn request(&self, params: &Params, context: *mut c_void) -> Request {
        let optional = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let named = |name: &[u8]| if self.unnamed { ptr::null() } else { params.c_value(name) };
        let content_type = named(b"CONTENT_TYPE");
        let empty: *const c_char = if self.unnamed { ptr::null() } else { c"".as_ptr() };
        let content_length = if self.unnamed { None } else { params.value(b"CONTENT_LENGTH") };
        Request {
            request: context,
            verdict: self.verdict,
            status: self.status,
            method: params.c_value(b"REQUEST_METHOD"),
            query: named(b"QUERY_STRING"),
            content_type: if content_type.is_null() { empty } else { content_type },
            request_uri: optional(&self.request_uri),
            script: optional(&self.script),
            cookie: params.c_value(b"HTTP_COOKIE"),
            authorization: named(b"HTTP_AUTHORIZATION"),
            php_value: params.c_value(b"PHP_VALUE"),
            php_admin_value: params.c_value(b"PHP_ADMIN_VALUE"),
            body_file: params.c_value(b"REQUEST_BODY_FILE"),
            path_info: params.c_value(b"PATH_INFO"),
            document_root: params.c_value(b"DOCUMENT_ROOT"),
            server_name: params.c_value(b"SERVER_NAME"),
            content_length: i64::try_from(cgi::content_length(content_length)).unwrap_or(i64::MAX),
            ping_response: self.ping_response,
            logs_headers: false,
        }
    }
}
