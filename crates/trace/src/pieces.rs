//! The pieces of memory that a walk has looked at. One that is known is not read again; before a walk counts, all that
//! it used are read again at once, and what they are then is what the next walk begins with.

use std::collections::BTreeMap;
use std::io;

use crate::{Memory, Piece};

const EFAULT: i32 = 14;
const PAGE: u64 = 4096;
/// Pieces so near to each other are read as one: frames lie side by side, and are to be read at one time.
const NEAR: u64 = 512;
/// Most ranges and bytes of one `Memory::read`.
pub const MOST_RANGES: usize = 256;
const MOST_BYTES: usize = 64 * 1024;
/// Pieces beyond this number are forgotten unless the last walk has used them.
const MOST_KNOWN: usize = 1000;

pub(crate) struct Pieces<'a, M> {
    memory: &'a M,
    known: BTreeMap<u64, Known>,
    /// What this walk has read, by address.
    pages: BTreeMap<u64, Vec<u8>>,
    /// An error that is no wrong address.
    failure: Option<io::Error>,
    frozen: bool,
    /// Looks that are left: a hostile process must not keep us busy.
    budget: usize,
    doubtful: bool,
}

struct Known {
    bytes: Vec<u8>,
    used: bool,
}

/// What was read makes no sense: the process has changed meanwhile, or is hostile.
#[derive(Debug)]
pub(crate) struct Nonsense;

impl<'a, M: Memory> Pieces<'a, M> {
    pub(crate) fn new(memory: &'a M, budget: usize) -> Pieces<'a, M> {
        Pieces {
            memory,
            known: BTreeMap::new(),
            pages: BTreeMap::new(),
            failure: None,
            frozen: false,
            budget,
            doubtful: false,
        }
    }

    /// From now on only what is known is there, and `budget` looks at it.
    pub(crate) fn freeze(&mut self, budget: usize) {
        (self.frozen, self.budget) = (true, budget);
    }

    /// No look is left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget == 0
    }

    /// What has just been read can be true, but more likely it was read while it changed.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether there was a doubt since the last time.
    pub(crate) fn were_doubtful(&mut self) -> bool {
        std::mem::take(&mut self.doubtful)
    }

    fn spend(&mut self) -> Result<(), Nonsense> {
        self.budget = self.budget.checked_sub(1).ok_or(Nonsense)?;
        Ok(())
    }

    /// The bytes at an address.
    pub(crate) fn bytes<const LENGTH: usize>(&mut self, address: u64) -> Result<[u8; LENGTH], Nonsense> {
        self.spend()?;
        if let Some(known) = self.known.get_mut(&address).filter(|known| known.bytes.len() >= LENGTH) {
            known.used = true;
            return known.bytes[..LENGTH].try_into().map_err(|_| Nonsense);
        }
        let bytes = self.fetch(address, LENGTH)?;
        let array = bytes[..].try_into().map_err(|_| Nonsense)?;
        self.known.insert(address, Known { bytes, used: true });
        Ok(array)
    }

    pub(crate) fn word(&mut self, address: u64) -> Result<u64, Nonsense> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    pub(crate) fn half(&mut self, address: u64) -> Result<u32, Nonsense> {
        self.bytes(address).map(u32::from_ne_bytes)
    }

    /// A C string, cut after `limit` bytes.
    pub(crate) fn text(&mut self, address: u64, limit: usize) -> Result<Vec<u8>, Nonsense> {
        self.spend()?;
        if let Some(known) = self.known.get_mut(&address)
            && let Some(text) = whole_text(&known.bytes, limit)
        {
            known.used = true;
            return Ok(text);
        }
        let mut bytes = Vec::new();
        while whole_text(&bytes, limit).is_none() {
            let start = address.checked_add(bytes.len() as u64).ok_or(Nonsense)?;
            let room = (PAGE - start % PAGE) as usize;
            bytes.extend(self.fetch(start, room.min(limit - bytes.len()))?);
        }
        // What follows the string is none of it, and may change at any time.
        let text = whole_text(&bytes, limit).ok_or(Nonsense)?;
        bytes.truncate((text.len() + 1).min(limit));
        self.known.insert(address, Known { bytes, used: true });
        Ok(text)
    }

    /// Reads what is not known yet, a page at a time: frames lie side by side, and a system call costs more than bytes.
    fn fetch(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Nonsense> {
        if self.frozen || address < PAGE || address.checked_add(PAGE).is_none() {
            return Err(Nonsense);
        }
        let (mut bytes, end) = (Vec::with_capacity(length), address + length as u64);
        let mut at = address;
        while at < end {
            let start = at - at % PAGE;
            let stop = end.min(start + PAGE);
            let page = self.page(start)?;
            bytes.extend_from_slice(&page[(at - start) as usize..(stop - start) as usize]);
            at = stop;
        }
        Ok(bytes)
    }

    fn page(&mut self, start: u64) -> Result<&[u8], Nonsense> {
        if self.failure.is_some() {
            return Err(Nonsense);
        }
        if !self.pages.contains_key(&start) {
            let mut page = Vec::with_capacity(PAGE as usize);
            match self.memory.read(&[(start, PAGE as usize)], &mut page) {
                Ok(()) if page.len() == PAGE as usize => {}
                Ok(()) => return Err(Nonsense),
                Err(error) => {
                    self.failure = Some(error).filter(|error| error.raw_os_error() != Some(EFAULT));
                    return Err(Nonsense);
                }
            }
            self.pages.insert(start, page);
        }
        Ok(&self.pages[&start])
    }

    /// Reads all pieces again. Whether one has changed that was used since the last time: the others are of another
    /// state of the process, which may come again.
    pub(crate) fn have_changed(&mut self) -> io::Result<bool> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.pages.clear();
        if self.known.len() > MOST_KNOWN {
            self.known.retain(|_, known| known.used);
        }
        self.budget = self.budget.saturating_sub(self.known.len());
        let mut changed = false;
        for ranges in batches(&merged(&self.known)) {
            let mut bytes = Vec::with_capacity(ranges.iter().map(|range| range.1).sum());
            match self.memory.read(ranges, &mut bytes) {
                Ok(()) => changed |= self.renew(ranges, &bytes),
                Err(error) if error.raw_os_error() == Some(EFAULT) => {
                    self.known.clear();
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        self.known.values_mut().for_each(|known| known.used = false);
        Ok(changed)
    }

    /// `bytes` are what these ranges hold now.
    fn renew(&mut self, ranges: &[Piece], bytes: &[u8]) -> bool {
        let (mut changed, mut rest) = (false, bytes);
        for (start, length) in ranges {
            let Some((here, next)) = rest.split_at_checked(*length) else { return true };
            for (address, known) in self.known.range_mut(*start..*start + *length as u64) {
                let offset = (address - start) as usize;
                // One that reaches beyond this range lies in another, which begins inside this one.
                let Some(now) = here.get(offset..offset + known.bytes.len()) else { continue };
                changed |= known.used && known.bytes != now;
                known.bytes.copy_from_slice(now);
            }
            rest = next;
        }
        changed
    }
}

/// The text up to the NUL or the limit; `None` if neither is reached.
fn whole_text(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let end = bytes.iter().take(limit).position(|byte| *byte == 0);
    end.or((bytes.len() >= limit).then_some(limit)).map(|end| bytes[..end].to_vec())
}

/// Ranges that cover all pieces. What lies between two near ones is on the pages of one of them, so it is there too.
fn merged(known: &BTreeMap<u64, Known>) -> Vec<Piece> {
    let mut ranges: Vec<Piece> = Vec::new();
    for (address, known) in known {
        let end = address + known.bytes.len() as u64;
        match ranges.last_mut() {
            Some((start, length))
                if *address <= *start + *length as u64 + NEAR && *length < MOST_BYTES / 2 =>
            {
                *length = (*length).max((end - *start) as usize);
            }
            _ => ranges.push((*address, known.bytes.len())),
        }
    }
    ranges
}

/// The ranges in groups that can be read at one time.
fn batches(ranges: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    let mut rest = ranges;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(MOST_RANGES).take_while(|range| {
            bytes += range.1;
            bytes <= MOST_BYTES
        });
        let (batch, left) = rest.split_at(fits.count());
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A process whose memory holds the same byte everywhere.
    fn filled(with: &Cell<u8>) -> impl Memory {
        |pieces: &[Piece], into: &mut Vec<u8>| {
            let length = pieces.iter().map(|piece| piece.1).sum::<usize>();
            assert!(pieces.len() <= MOST_RANGES && length <= MOST_BYTES);
            into.resize(into.len() + length, with.get());
            Ok(())
        }
    }

    #[test]
    fn pieces_that_overlap_are_all_renewed() {
        let byte = Cell::new(b'x');
        let memory = filled(&byte);
        for step in [1, 8, 400, 1000, 2000, 100_000] {
            byte.set(b'x');
            let mut pieces = Pieces::new(&memory, usize::MAX);
            for at in 0..300 {
                assert_eq!(pieces.text(0x10_0000 + at * step, 1023).unwrap(), [b'x'; 1023]);
            }
            assert!(!pieces.have_changed().unwrap());
            pieces.text(0x10_0000, 1023).unwrap();
            byte.set(b'y');
            assert!(pieces.have_changed().unwrap(), "{step}");
            pieces.freeze(1000);
            for at in 0..300 {
                assert_eq!(pieces.text(0x10_0000 + at * step, 1023).unwrap(), [b'y'; 1023], "{step} {at}");
            }
        }
    }

    #[test]
    fn what_is_not_used_is_forgotten_when_there_is_much() {
        let byte = Cell::new(0);
        let memory = filled(&byte);
        let mut pieces = Pieces::new(&memory, usize::MAX);
        for round in 1..=4 {
            for at in 0..700 {
                pieces.word(round * 0x10_0000 + at * 8).unwrap();
            }
            pieces.have_changed().unwrap();
            assert!(pieces.known.len() <= 1400, "{round}");
        }
    }
}
