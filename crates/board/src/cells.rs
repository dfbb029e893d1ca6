//! Atomic cells that live in shared memory: a text of bounded length made of atomic words.
//! Plain relaxed stores; a reader that overlaps a writer sees a mixture, never undefined behaviour.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// At most `8 * WORDS` bytes of text. All zero bytes is the empty text.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Text<const WORDS: usize> {
    length: AtomicU32,
    _reserved: u32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    /// Stores `text`, cut to the room there is.
    pub(crate) fn store(&self, text: &[u8]) {
        let text = &text[..text.len().min(8 * WORDS)];
        for (word, piece) in self.words.iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
        self.length.store(text.len() as u32, Relaxed);
    }

    /// The text as it stands; the length is not believed beyond the room there is.
    pub(crate) fn load(&self) -> Vec<u8> {
        let length = (self.length.load(Relaxed) as usize).min(8 * WORDS);
        let mut bytes: Vec<u8> = self.words[..length.div_ceil(8)]
            .iter()
            .flat_map(|word| word.load(Relaxed).to_ne_bytes())
            .collect();
        bytes.truncate(length);
        bytes
    }

    /// Makes the text empty.
    pub(crate) fn clear(&self) {
        self.length.store(0, Relaxed);
    }
}
