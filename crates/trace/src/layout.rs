//! Where PHP keeps what a backtrace is made of. The engine's C part fills this in from PHP's own headers; nothing of
//! it is written down here.

use serde::{Deserialize, Serialize};

/// Addresses in the process, offsets in PHP's structures, and bits. The engine's C part has the same structure.
#[repr(C)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Address of the pointer to the innermost frame.
    pub current_frame: u64,
    /// Address of the pointer to the script's path, a C string.
    pub script: u64,
    /// In a frame: pointer to the instruction it is at.
    pub frame_instruction: u64,
    /// In a frame: pointer to its function.
    pub frame_function: u64,
    /// In a frame: what kind of call it is, 32 bits.
    pub frame_kind: u64,
    /// In a frame: pointer to the caller's frame.
    pub frame_caller: u64,
    /// In a function: its type, 8 bits.
    pub function_type: u64,
    /// In a function: pointer to its name, a string.
    pub function_name: u64,
    /// In a function written in PHP: pointer to its file's name, a string.
    pub function_file: u64,
    /// In a function written in PHP: pointer to its instructions, and their number, 32 bits.
    pub function_code: u64,
    /// See `function_code`.
    pub function_length: u64,
    /// The type of a function that is not written in PHP.
    pub built_in: u64,
    /// Bytes of an instruction.
    pub instruction_size: u64,
    /// In an instruction: its line, 32 bits.
    pub instruction_line: u64,
    /// In a string: its length.
    pub string_length: u64,
    /// In a string: its bytes, and a NUL.
    pub string_text: u64,
    /// Bits of a frame's kind that tell the following.
    pub kind_mask: u64,
    /// A main script's code.
    pub kind_top_code: u64,
}
