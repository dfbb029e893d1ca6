//! The meta-variables of one request: found by name in constant time, listed for `$_SERVER` in php-fpm's
//! order (newest first). All texts lie in one buffer, each with a NUL behind it for C, to which a value ends
//! at its first NUL, as with php-fpm. Nothing is allocated in the steady state.

use std::ffi::c_char;
use std::ptr;

use crate::php::{Param, Text};

/// Beyond this, memory of an unusually large request is given back after it.
const KEPT_ROOM: usize = 64 * 1024;
const KEPT_ENTRIES: usize = 256;
const FREE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    name: (u32, u32),
    /// Offset and length; `None` for a parameter that has been removed.
    value: Option<(u32, u32)>,
}

#[derive(Default)]
pub(crate) struct Params {
    texts: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing; a power of two, at least twice as many as entries.
    index: Vec<u32>,
    list: Vec<Param>,
}

// The list's pointers lead into `texts`, which moves with its owner as a whole.
impl Params {
    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.texts.clear();
        self.texts.shrink_to(KEPT_ROOM);
        self.entries.clear();
        self.entries.shrink_to(KEPT_ENTRIES);
        self.list.clear();
        self.list.shrink_to(KEPT_ENTRIES);
        if self.index.len() > 4 * KEPT_ENTRIES {
            self.index = Vec::new();
        }
        self.index.fill(FREE);
    }

    /// Gives a parameter its value. One that is there keeps its place in the order.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        let (hash, has_nul) = hash(name);
        if has_nul {
            return self.set(until_nul(name), value);
        }
        let value = self.store(value);
        match self.find(hash, name) {
            Some(at) if self.entries[at].value.is_some() => self.entries[at].value = Some(value),
            found => {
                if let Some(at) = found {
                    // Removed before: now it is the newest. The old entry stays without a value, and
                    // without a name that could be found.
                    self.entries[at].hash = !hash;
                    self.rebuild_index();
                }
                let name = self.store(name);
                self.entries.push(Entry { hash, name, value: Some(value) });
                self.add_to_index(self.entries.len() - 1);
            }
        }
    }

    /// Removes a parameter.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(at) = self.find(hash(name).0, name) {
            self.entries[at].value = None;
        }
    }

    /// Builds the list for `$_SERVER` and for C. After this nothing may be set until `reset`.
    pub(super) fn seal(&mut self) {
        let text = |(at, length): (u32, u32)| Text::new(&self.texts[at as usize..(at + length) as usize]);
        let listed = self.entries.iter().rev();
        self.list.clear();
        self.list.extend(
            listed.filter_map(|entry| Some(Param { name: text(entry.name), value: text(entry.value?) })),
        );
    }

    /// The sealed list, newest parameter first.
    pub(super) fn list(&self) -> &[Param] {
        &self.list
    }

    /// A value; a NUL follows it in memory.
    pub(super) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let entry = self.entries[self.find(hash(name).0, name)?];
        entry.value.map(|(at, length)| &self.texts[at as usize..(at + length) as usize])
    }

    /// A value as a C string, or null.
    pub(super) fn c_value(&self, name: &[u8]) -> *const c_char {
        self.value(name).map_or(ptr::null(), |value| value.as_ptr().cast())
    }

    fn store(&mut self, text: &[u8]) -> (u32, u32) {
        let at = self.texts.len() as u32;
        self.texts.extend_from_slice(text);
        self.texts.push(0);
        (at, text.len() as u32)
    }

    fn find(&self, hash: u32, name: &[u8]) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        let mut place = hash as usize & mask;
        loop {
            let at = self.index[place];
            if at == FREE {
                return None;
            }
            let entry = &self.entries[at as usize];
            let (start, length) = entry.name;
            if entry.hash == hash && &self.texts[start as usize..(start + length) as usize] == name {
                return Some(at as usize);
            }
            place = (place + 1) & mask;
        }
    }

    fn add_to_index(&mut self, at: usize) {
        if self.index.len() < 2 * self.entries.len() {
            self.rebuild_index();
            return;
        }
        let mask = self.index.len() - 1;
        let mut place = self.entries[at].hash as usize & mask;
        while self.index[place] != FREE {
            place = (place + 1) & mask;
        }
        self.index[place] = at as u32;
    }

    fn rebuild_index(&mut self) {
        let size = (4 * self.entries.len()).next_power_of_two().max(128);
        self.index.clear();
        self.index.resize(size, FREE);
        for at in 0..self.entries.len() {
            self.add_to_index(at);
        }
    }
}

impl cgi::script::Params for Params {
    fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.value(name)
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..end]
}

/// Eight bytes at a time, and whether there is a NUL among them. A peer that makes names collide wastes its own
/// worker's time only, within the limit on parameters.
fn hash(name: &[u8]) -> (u32, bool) {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [1; 8]; // not 0: the room behind the name holds no NUL
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let (hash, nuls) = words.fold((name.len() as u64, 0), |(hash, nuls), word| {
        let mixed = (hash ^ word).wrapping_mul(MIX);
        (mixed ^ mixed >> 32, nuls | zero_bytes(word))
    });
    (hash as u32, nuls != 0)
}

/// Not 0 if one of the eight bytes is.
fn zero_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}
