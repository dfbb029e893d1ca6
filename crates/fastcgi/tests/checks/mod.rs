//! What holds for any bytes from a peer. Shared by the tests here and the fuzz targets in `fuzz/`.
//!
//! Each check takes one fuzz input, reads it whole and in pieces, and panics if a rule is broken:
//! progress, slices inside the input, bounds, order of events, the same events for every split.

pub(crate) mod client;
pub(crate) mod server;

use fastcgi::params::{Pairs, encode};

/// Lengths of the pieces an input is cut into.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    Bytes,
    /// Lengths from 1 to 32, different for every seed.
    Seeded(u32),
}

impl Cut {
    /// Two splits to compare; every seed chooses another second one.
    fn two(seed: u8) -> [Self; 2] {
        [Self::Whole, if seed.is_multiple_of(4) { Self::Bytes } else { Self::Seeded(seed.into()) }]
    }

    /// The next piece and what is behind it.
    fn split<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let length = match self {
            Self::Whole => bytes.len(),
            Self::Bytes => 1,
            Self::Seeded(state) => {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                1 + (*state >> 27) as usize
            }
        };
        bytes.split_at(length.min(bytes.len()))
    }
}

/// A piece handed on is not empty and lies in the input.
fn assert_inside(piece: &[u8], input: &[u8]) {
    assert!(!piece.is_empty());
    let (piece, input) = (piece.as_ptr_range(), input.as_ptr_range());
    assert!(input.start <= piece.start && piece.end <= input.end);
}

/// Name-value pairs: ends, stays at its end, and what was read can be written and read again.
pub(crate) fn params(data: &[u8]) {
    let mut pairs = Vec::new();
    let mut iterator = Pairs::new(data);
    let mut content = 0;
    let malformed = loop {
        match iterator.next() {
            None => break false,
            Some(Err(_)) => break true,
            Some(Ok((name, value))) => {
                content += 2 + name.len() + value.len();
                assert!(content <= data.len(), "more content than there are bytes");
                pairs.push((name, value));
            }
        }
    };
    assert!(iterator.next().is_none() && iterator.next().is_none());
    let written = encode(pairs.iter().copied());
    assert!(written.len() <= data.len());
    let again: Result<Vec<_>, _> = Pairs::new(&written).collect();
    assert_eq!(again.as_deref(), Ok(pairs.as_slice()));
    if !malformed && content == data.len() {
        assert_eq!(written, data, "short forms are written as they were");
    }
}
