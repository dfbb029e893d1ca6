//! Whatever a peer sends, and whatever the file system answers: nothing
//! panics, everything ends, and what comes out keeps its promises.

use std::cell::Cell;

use cgi::script::{Change, Files, Params, Settings, extension_allowed, resolve};
use cgi::{content_length, head};
use proptest::prelude::*;

#[derive(Debug)]
struct Sent(Vec<(&'static str, Vec<u8>)>);

impl Params for Sent {
    fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(sent, _)| sent.as_bytes() == name).map(|(_, value)| value.as_slice())
    }
}

/// Answers by the length of the path and a pattern of bits; counts the questions.
struct Oracle {
    pattern: u64,
    questions: Cell<usize>,
}

impl Files for Oracle {
    fn resolves(&self, path: &[u8]) -> bool {
        self.questions.set(self.questions.get() + 1);
        self.pattern.rotate_left(path.len() as u32) & 1 == 1
    }

    fn is_regular_file(&self, path: &[u8]) -> bool {
        self.questions.set(self.questions.get() + 1);
        self.pattern.rotate_left(path.len() as u32) & 2 == 2
    }
}

const NAMES: [&str; 7] = [
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "DOCUMENT_ROOT",
    "REDIRECT_URL",
    "SERVER_SOFTWARE",
];

const PIECES: &[&str] = &[
    "/",
    "/x",
    "/env.php",
    "..",
    "\\",
    "%2F",
    "%",
    "?",
    "\0",
    "proxy:fcgi://",
    "proxy:balancer://h",
    "Microsoft-IIS",
    "/w",
];

/// Pieces that meet the rules, mixed with arbitrary bytes.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn sent() -> impl Strategy<Value = Sent> {
    proptest::collection::vec(proptest::option::weighted(0.7, value()), NAMES.len()).prop_map(|values| {
        Sent(NAMES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn resolving_ends_and_refuses_parent_directories(
        sent in sent(),
        pattern in any::<u64>(),
        fix_pathinfo in any::<bool>(),
        discard_path in any::<bool>(),
        doc_root in proptest::option::of(value()),
    ) {
        let files = Oracle { pattern, questions: Cell::new(0) };
        let settings = Settings { fix_pathinfo, discard_path, doc_root: doc_root.as_deref() };
        let resolved = resolve(&sent, &settings, &files);
        if let Some(script) = &resolved.script {
            prop_assert!(!script.split(|byte| *byte == b'/').any(|part| part == b".."));
            prop_assert!(!script.contains(&0));
            prop_assert!(!resolved.not_found);
        }
        let longest = sent.0.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        prop_assert!(files.questions.get() <= 1 + longest);
        prop_assert!(fix_pathinfo || files.questions.get() == 0);
        for change in &resolved.changes {
            match change {
                Change::Set(_, value) => prop_assert!(!value.contains(&0)),
                Change::Remove(name) => prop_assert!(sent.param(name.as_bytes()).is_some()),
            }
        }
        extension_allowed(resolved.script.as_deref().unwrap_or_default(), &[doc_root.as_deref().unwrap_or_default()]);
    }

    #[test]
    fn a_head_ends_with_an_empty_line_and_has_one_status(
        code in prop_oneof![Just(200), Just(304), any::<i32>()],
        line in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..1100)),
        own in proptest::sample::select(vec!["HTTP/1.1 304 ", "http/1 ", ""]),
        headers in proptest::collection::vec("(Status:|Content-Type:|X:)?[ -~]{0,9}", 0..5),
        nph in any::<bool>(),
        rfc2616_headers in any::<bool>(),
    ) {
        let line = line.map(|line| [own.as_bytes(), &line].concat());
        let status = head::Status { code, line: line.as_deref(), nph, rfc2616_headers };
        let mut out = b"before".to_vec();
        head::encode(status, headers.iter().map(String::as_bytes), &mut out);
        prop_assert!(out.starts_with(b"before"));
        prop_assert!(out.ends_with(b"\r\n"));
        let longest: usize = headers.iter().map(|header| header.len() + 2).sum();
        prop_assert!(out.len() <= 6 + 1023 + 2 + longest + 2);
        if line.is_none() {
            let text = String::from_utf8_lossy(&out[6..]).into_owned();
            let statuses = text.split("\r\n").filter(|line| line.len() > 7 && line.starts_with("Status:"));
            prop_assert!(statuses.count() <= 1);
        }
    }

    #[test]
    fn numbers_take_any_bytes(text in value()) {
        prop_assert!(i64::try_from(content_length(Some(&text))).is_ok());
    }
}
