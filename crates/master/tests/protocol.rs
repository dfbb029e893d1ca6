//! The control socket's words: whatever is meant arrives as it was meant, and no bytes do harm.

use master::control::protocol::{Answer, LONGEST_ANSWER, Request};
use proptest::prelude::*;

/// The line without its end, which there is only one of.
fn line(encoded: &[u8]) -> &[u8] {
    let (end, line) = encoded.split_last().expect("a line");
    assert!(*end == b'\n' && !line.contains(&b'\n'), "{:?}", String::from_utf8_lossy(encoded));
    line
}

fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..20)
}

proptest! {
    #[test]
    fn a_request_arrives_as_it_was_meant(pools in names(), only_changed: bool, wait: bool) {
        for request in [Request::Reload { pools, only_changed, wait }, Request::Upgrade { wait }] {
            prop_assert_eq!(Request::parse(line(&request.encode())), Ok(request));
        }
    }

    #[test]
    fn what_can_be_understood_can_be_said(bytes in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        let heard = if known { [b"cornac/1 reload ".to_vec(), bytes].concat() } else { bytes };
        if let Ok(request) = Request::parse(&heard) {
            prop_assert_eq!(Request::parse(line(&request.encode())), Ok(request));
        }
    }

    #[test]
    fn an_answer_is_one_line_that_says_the_same_again(text in "\\PC{0,40}[\n\t\r]{0,3}\\PC{0,4000}", kind in 0..2) {
        let answer = if kind == 0 { Answer::Note(text) } else { Answer::Error(text) };
        let encoded = answer.encode();
        prop_assert!(encoded.len() <= LONGEST_ANSWER, "{}", encoded.len());
        let heard = Answer::parse(line(&encoded)).expect("an answer");
        prop_assert_eq!(std::mem::discriminant(&heard), std::mem::discriminant(&answer));
        prop_assert_eq!(heard.encode(), encoded);
    }

    #[test]
    fn no_answer_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Answer::parse(&bytes);
    }
}
