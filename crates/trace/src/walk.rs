//! From the innermost frame to the main script, as PHP links them.

use std::collections::BTreeSet;

use crate::layout::Layout;
use crate::pieces::{Nonsense, Pieces};
use crate::{Frame, Memory, Trace};

/// php-fpm reads names into this much room, with their NUL.
const LONGEST_TEXT: usize = 1023;
/// Frames looked at, beyond those that are shown, for the code that made the last call.
const MOST_BUILT_IN: usize = 64;

/// One frame as it lies in memory.
struct Link {
    function: Option<Function>,
    kind: u64,
}

struct Function {
    name: Option<Vec<u8>>,
    /// Address, if it is one written in PHP.
    code: Option<u64>,
}

pub(crate) fn walk<M: Memory>(pieces: &mut Pieces<'_, M>, layout: &Layout, depth: usize) -> Trace {
    let mut trace = Trace { script: script(pieces, layout).ok(), ..Trace::default() };
    if trace.script.is_some() {
        trace.complete = frames(pieces, layout, depth, &mut trace.frames).is_ok();
    }
    trace
}

fn script<M: Memory>(pieces: &mut Pieces<'_, M>, layout: &Layout) -> Result<Vec<u8>, Nonsense> {
    let path = pieces.word(layout.script)?;
    pieces.text(path, LONGEST_TEXT)
}

fn frames<M: Memory>(
    pieces: &mut Pieces<'_, M>,
    layout: &Layout,
    depth: usize,
    frames: &mut Vec<Frame>,
) -> Result<(), Nonsense> {
    let mut seen = BTreeSet::new();
    let mut address = pieces.word(layout.current_frame)?;
    while address != 0 && frames.len() < depth {
        if !seen.insert(address) {
            return Err(Nonsense);
        }
        let link = link(pieces, layout, address)?;
        let function = match name(&link, layout) {
            Name::Of(name) => name,
            Name::MainScript => return Ok(()),
        };
        let caller = pieces.word(at(address, layout.frame_caller)?)?;
        let (file, line) = place_of_call(pieces, layout, caller)?;
        frames.push(Frame { address, function, file, line });
        address = caller;
        if caller == 0 {
            // All begins in the main script, but for what PHP calls when that has ended.
            pieces.doubt();
        }
    }
    Ok(())
}

enum Name {
    Of(Vec<u8>),
    MainScript,
}

/// What has no name is included code, or something of PHP's own, for which php-fpm has the same word.
fn name(link: &Link, layout: &Layout) -> Name {
    match &link.function {
        None => Name::Of(b"???".to_vec()),
        Some(Function { name: Some(name), .. }) => Name::Of(name.clone()),
        Some(_) if link.kind & layout.kind_mask == layout.kind_top_code => Name::MainScript,
        Some(_) => Name::Of(b"[INCLUDE_OR_EVAL]".to_vec()),
    }
}

/// File and line of the nearest code written in PHP, from `address` outwards.
fn place_of_call<M: Memory>(
    pieces: &mut Pieces<'_, M>,
    layout: &Layout,
    mut address: u64,
) -> Result<(Vec<u8>, u32), Nonsense> {
    for _ in 0..MOST_BUILT_IN {
        if address == 0 {
            break;
        }
        let Some(function) = link(pieces, layout, address)?.function else { break };
        if let Some(code) = function.code {
            let file = pieces.word(at(code, layout.function_file)?)?;
            let file = string(pieces, layout, file)?;
            return Ok((file, line(pieces, layout, address, code)?));
        }
        address = pieces.word(at(address, layout.frame_caller)?)?;
    }
    Ok((Vec::new(), 0))
}

/// The line that a frame of the function `code` is at; 0 where PHP has no instruction of this function there.
fn line<M: Memory>(
    pieces: &mut Pieces<'_, M>,
    layout: &Layout,
    frame: u64,
    code: u64,
) -> Result<u32, Nonsense> {
    let instruction = pieces.word(at(frame, layout.frame_instruction)?)?;
    let start = pieces.word(at(code, layout.function_code)?)?;
    let count: u64 = pieces.half(at(code, layout.function_length)?)?.into();
    let offset = instruction.checked_sub(start);
    let index = offset.filter(|offset| offset % layout.instruction_size.max(1) == 0);
    match index.map(|offset| offset / layout.instruction_size.max(1)) {
        Some(index) if index < count => pieces.half(at(instruction, layout.instruction_line)?),
        _ => {
            pieces.doubt();
            Ok(0)
        }
    }
}

fn link<M: Memory>(pieces: &mut Pieces<'_, M>, layout: &Layout, address: u64) -> Result<Link, Nonsense> {
    if pointer(address).is_none() {
        return Err(Nonsense);
    }
    let function = pieces.word(at(address, layout.frame_function)?)?;
    let kind = pieces.half(at(address, layout.frame_kind)?)?.into();
    let function = pointer(function).map(|function| self::function(pieces, layout, function)).transpose()?;
    Ok(Link { function, kind })
}

fn function<M: Memory>(
    pieces: &mut Pieces<'_, M>,
    layout: &Layout,
    address: u64,
) -> Result<Function, Nonsense> {
    let [kind] = pieces.bytes(at(address, layout.function_type)?)?;
    let name = match pieces.word(at(address, layout.function_name)?)? {
        0 => None,
        name => Some(string(pieces, layout, name)?),
    };
    Ok(Function { name, code: (u64::from(kind) != layout.built_in).then_some(address) })
}

/// A string of PHP: its length and its first NUL have to agree, or this is something else by now.
fn string<M: Memory>(pieces: &mut Pieces<'_, M>, layout: &Layout, address: u64) -> Result<Vec<u8>, Nonsense> {
    pointer(address).ok_or(Nonsense)?;
    let length = pieces.word(at(address, layout.string_length)?)?;
    let text = pieces.text(at(address, layout.string_text)?, LONGEST_TEXT)?;
    if text.len() as u64 != length.min(LONGEST_TEXT as u64) {
        return Err(Nonsense);
    }
    Ok(text)
}

/// What can be a pointer to one of PHP's structures.
fn pointer(value: u64) -> Option<u64> {
    (value != 0 && value.is_multiple_of(8)).then_some(value)
}

fn at(address: u64, offset: u64) -> Result<u64, Nonsense> {
    address.checked_add(offset).ok_or(Nonsense)
}
