//! Traces of processes that are made up: calls of every kind, changes while they are read, and hostile memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use trace::{Frame, Layout, Piece, take};

const EFAULT: i32 = 14;
const PAGE: u64 = 4096;
const MOST_LINES: u64 = 16;

/// Offsets unlike PHP's: nothing may be taken for granted.
fn layout() -> Layout {
    Layout {
        current_frame: 0x10_0000,
        script: 0x10_0010,
        frame_instruction: 0,
        frame_function: 24,
        frame_kind: 40,
        frame_caller: 48,
        function_type: 0,
        function_name: 8,
        function_file: 32,
        function_code: 40,
        function_length: 48,
        built_in: 1,
        instruction_size: 32,
        instruction_line: 24,
        string_length: 16,
        string_text: 24,
        kind_mask: 3 << 16,
        kind_top_code: 3 << 16,
    }
}

/// A process's memory: pages, some of which are not there.
#[derive(Clone, Default)]
struct Process {
    pages: BTreeMap<u64, Vec<u8>>,
    next: u64,
    main_code: u64,
}

impl Process {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }

    fn word(&mut self, address: u64, word: u64) {
        self.put(address, &word.to_ne_bytes());
    }

    fn room(&mut self, length: u64) -> u64 {
        let at = 0x20_0000 + self.next;
        self.next += length.next_multiple_of(16);
        at
    }

    fn string(&mut self, text: &[u8]) -> u64 {
        let at = self.room(25 + text.len() as u64);
        self.word(at + 16, text.len() as u64);
        self.put(at + 24, &[text, b"\0"].concat());
        at
    }

    /// A function; `file` makes it one written in PHP.
    fn function(&mut self, name: Option<&str>, file: Option<&str>) -> u64 {
        let at = self.room(56);
        let code = self.room(MOST_LINES * 32);
        (0..MOST_LINES).for_each(|line| self.put(code + line * 32 + 24, &(line as u32).to_ne_bytes()));
        self.word(at + 40, code);
        self.word(at + 48, MOST_LINES);
        self.put(at, &[if file.is_some() { 2 } else { 1 }]);
        let name = name.map_or(0, |name| self.string(name.as_bytes()));
        self.word(at + 8, name);
        let file = file.map_or(0, |file| self.string(file.as_bytes()));
        self.word(at + 32, file);
        at
    }

    /// The one in this line.
    fn instruction(&self, function: u64, line: u32) -> u64 {
        let mut code = Vec::new();
        match self.read(&[(function + 40, 8)], &mut code) {
            Ok(()) => u64::from_ne_bytes(code[..8].try_into().unwrap()) + u64::from(line) * 32,
            Err(_) => 0,
        }
    }

    fn frame(&mut self, function: u64, line: u32, kind: u32, caller: u64) -> u64 {
        let at = self.room(64);
        let instruction = self.instruction(function, line);
        self.word(at, instruction);
        self.word(at + 24, function);
        self.put(at + 40, &kind.to_ne_bytes());
        self.word(at + 48, caller);
        at
    }

    /// A main script in `/m.php`, at line 7; its frame.
    fn main(&mut self) -> u64 {
        let path = self.room(16);
        self.put(path, b"/m.php\0");
        self.word(layout().script, path);
        let code = self.function(None, Some("/m.php"));
        self.main_code = code;
        let main = self.frame(code, 7, 3 << 16, 0);
        self.word(layout().current_frame, main);
        main
    }

    fn call(&mut self, name: &str, file: Option<&str>, line: u32, caller: u64) -> u64 {
        let function = self.function(Some(name), file);
        let frame = self.frame(function, line, 0, caller);
        self.word(layout().current_frame, frame);
        frame
    }

    fn read(&self, pieces: &[Piece], into: &mut Vec<u8>) -> io::Result<()> {
        for (address, length) in pieces {
            for at in *address..*address + *length as u64 {
                let page = self.pages.get(&(at / PAGE)).ok_or(io::Error::from_raw_os_error(EFAULT))?;
                into.push(page[(at % PAGE) as usize]);
            }
        }
        Ok(())
    }

    fn trace(&self, depth: usize) -> trace::Trace {
        take(&|pieces: &[Piece], into: &mut Vec<u8>| self.read(pieces, into), &layout(), depth).unwrap()
    }

    /// The calls as `function file:line`, and `…` where the rest could not be read.
    fn check(&self, depth: usize, expected: &[&str]) {
        assert_eq!(shown(&self.trace(depth)), expected);
    }
}

fn shown(trace: &trace::Trace) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let show = |frame: &Frame| format!("{} {}:{}", text(&frame.function), text(&frame.file), frame.line);
    let mut lines: Vec<String> = trace.frames.iter().map(show).collect();
    if !trace.complete {
        lines.push("…".to_owned());
    }
    lines
}

#[test]
fn calls_show_where_they_were_made() {
    let mut process = Process::default();
    let main = process.main();
    process.check(20, &[]);
    let outer = process.call("outer", Some("/a.php"), 3, main);
    let map = process.call("array_map", None, 0, outer);
    let inner = process.call("inner", Some("/b.php"), 11, map);
    let included = process.function(None, Some("/c.php"));
    let included = process.frame(included, 5, 1 << 16, inner);
    process.call("usleep", None, 0, included);
    let all = [
        "usleep /c.php:5",
        "[INCLUDE_OR_EVAL] /b.php:11",
        "inner /a.php:3",
        "array_map /a.php:3",
        "outer /m.php:7",
    ];
    process.check(20, &all);
    process.check(5, &all);
    process.check(2, &all[..2]);
    assert_eq!(process.trace(3).script.as_deref(), Some(b"/m.php".as_slice()));
}

#[test]
fn what_has_no_name_or_place_is_said() {
    let mut process = Process::default();
    let main = process.main();
    let dummy = process.frame(0, 0, 0, main);
    process.call("in_a_generator", Some("/a.php"), 4, dummy);
    process.check(20, &["in_a_generator :0", "??? /m.php:7"]);
    let odd = process.frame(0x2004, 0, 0, main);
    process.word(layout().current_frame, odd);
    process.check(20, &["??? /m.php:7"]);
    let nameless = process.function(None, None);
    let nameless = process.frame(nameless, 0, 0, 0);
    process.word(layout().current_frame, nameless);
    process.check(20, &["[INCLUDE_OR_EVAL] :0"]);
}

/// As while an exception is thrown, when PHP puts an instruction of its own there.
#[test]
fn an_instruction_of_another_function_has_no_line() {
    let mut process = Process::default();
    let main = process.main();
    let outer = process.call("outer", Some("/a.php"), 3, main);
    process.call("inner", None, 0, outer);
    for (instruction, line) in [(0, 0), (0x20_0000, 0), (u64::MAX, 0)] {
        process.word(outer, instruction);
        process.check(20, &[format!("inner /a.php:{line}").as_str(), "outer /m.php:7"]);
    }
    let end = process.instruction(process.main_code, MOST_LINES as u32);
    for (instruction, line) in [(end - 32, 15), (end - 31, 0), (end, 0)] {
        process.word(main, instruction);
        process.check(20, &["inner /a.php:0", format!("outer /m.php:{line}").as_str()]);
    }
}

#[test]
fn long_names_are_cut_wherever_they_lie() {
    let mut process = Process::default();
    let main = process.main();
    process.call(&"n".repeat(1022), Some(&"f".repeat(5000)), 1, main);
    let inner = process.call(&"m".repeat(1023), Some("/a"), 1, main);
    process.call(&"l".repeat(70_000), None, 1, inner);
    let frames = process.trace(20).frames;
    assert_eq!((frames[0].function.len(), frames[1].function.len()), (1023, 1023));
}

#[test]
fn a_string_at_the_end_of_memory_is_read() {
    let mut process = Process::default();
    let main = process.main();
    let frame = process.call("x", Some("/a.php"), 1, main);
    let name = 0x30_0000 + PAGE - 32;
    process.word(name + 16, 7);
    process.put(name + 24, b"at_edge\0");
    process.word(frame + 24, 0x28_0000);
    process.put(0x28_0000, &[2]);
    process.word(0x28_0008, name);
    process.check(20, &["at_edge /m.php:7"]);
}

#[test]
fn hostile_chains_end() {
    let mut process = Process::default();
    let main = process.main();
    let first = process.call("first", Some("/a.php"), 1, main);
    let second = process.call("second", Some("/a.php"), 2, first);
    // A loop.
    process.word(first + 48, second);
    process.check(20, &["second /a.php:1", "first /a.php:2", "…"]);
    // A wild pointer, and one to nowhere.
    for wild in [0xdead_beef_0000_0000, 8, 0x20_0003, u64::MAX - 7] {
        process.word(first + 48, wild);
        process.check(20, &["second /a.php:1", "…"]);
    }
    // Lengths that cannot be.
    process.word(first + 48, main);
    let name = process.string(b"name");
    for length in [u64::MAX, 5, 3, 0, 1 << 20] {
        process.word(name + 16, length);
        let function = process.function(Some("x"), None);
        process.word(function + 8, name);
        let frame = process.frame(function, 0, 0, first);
        process.word(layout().current_frame, frame);
        process.check(20, &["…"]);
    }
    // Built-in functions that call each other without end.
    let built_in = process.function(Some("call_user_func"), None);
    let endless = process.frame(built_in, 0, 0, 0);
    process.word(endless + 48, endless);
    process.word(layout().current_frame, endless);
    process.check(20, &["call_user_func :0", "…"]);
}

/// Names that lie in one another, so many that they are not read as one range.
#[test]
fn names_may_overlap_anywhere() {
    for stride in [8, 504, 1000, 1016, 1024] {
        let mut process = Process::default();
        let main = process.main();
        let names = 0x30_0000;
        process.put(names, &[b'n'; 120 * 1024]);
        let mut caller = main;
        for index in 0..80 {
            let function = process.function(None, None);
            process.word(function + 8, names + index * stride);
            caller = process.frame(function, 0, 0, caller);
        }
        process.word(layout().current_frame, caller);
        assert_eq!(process.trace(100).frames.len(), 80, "{stride}");
    }
}

#[test]
fn nothing_at_all_is_no_error_and_a_refusal_is_one() {
    let trace = Process::default().trace(20);
    assert_eq!((trace.script, trace.frames.len(), trace.complete), (None, 0, false));
    let refused = |_: &[Piece], _: &mut Vec<u8>| Err(io::Error::from_raw_os_error(1));
    assert_eq!(take(&refused, &layout(), 20).unwrap_err().raw_os_error(), Some(1));
}

/// The process is in another state at every read: calls of `f` at line 7 and of `g` at line 8 in turns, in the same
/// place.
fn changing(every: usize) -> impl Fn(&[Piece], &mut Vec<u8>) -> io::Result<()> {
    let mut process = Process::default();
    let main = process.main();
    let [f, g] = ["f", "g"].map(|name| process.function(Some(name), Some("/a.php")));
    let main_code = process.main_code;
    let [at_f, at_g] = [7, 8].map(|line| process.instruction(main_code, line));
    let frame = process.call("f", Some("/a.php"), 1, main);
    let state = RefCell::new((process, 0usize));
    move |pieces, into| {
        let (process, reads) = &mut *state.borrow_mut();
        *reads += 1;
        let (function, instruction) = if (*reads / every).is_multiple_of(2) { (f, at_f) } else { (g, at_g) };
        process.word(frame + 24, function);
        process.word(main, instruction);
        process.read(pieces, into)
    }
}

#[test]
fn what_is_shown_was_true_at_one_time() {
    for every in 1..40 {
        let trace = take(&changing(every), &layout(), 20).unwrap();
        let lines = shown(&trace);
        assert!(
            [&["f /m.php:7"][..], &["g /m.php:8"], &["…"]].iter().any(|right| lines == *right),
            "{every}: {lines:?}"
        );
        if every > 4 {
            assert!(trace.complete, "{every}: {lines:?}");
        }
    }
}

fn some_address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..0x2000).prop_map(|at| 0x20_0000 + at * 8),
        1 => any::<u64>(),
        1 => Just(0),
    ]
}

proptest! {
    /// Whatever the memory holds: no panic, bounded work, bounded result.
    #[test]
    fn any_memory_is_survived(
        words in prop::collection::vec((0u64..0x2000, some_address()), 0..400),
        head in some_address(),
        path in some_address(),
        depth in 0usize..100,
        kinds in any::<u32>(),
    ) {
        let mut process = Process::default();
        process.put(0x20_0000, &[0; 8 * 0x2000]);
        words.iter().for_each(|(at, word)| process.word(0x20_0000 + at * 8, *word));
        process.word(layout().current_frame, head);
        process.word(layout().script, path);
        let layout = Layout { kind_top_code: kinds.into(), ..layout() };
        let reads = RefCell::new(0);
        let memory = |pieces: &[Piece], into: &mut Vec<u8>| {
            *reads.borrow_mut() += pieces.len();
            process.read(pieces, into)
        };
        let trace = take(&memory, &layout, depth).unwrap();
        prop_assert!(trace.frames.len() <= depth);
        prop_assert!(*reads.borrow() < 100_000);
        for frame in &trace.frames {
            prop_assert!(frame.function.len() <= 1023 && frame.file.len() <= 1023);
        }
    }

    /// Offsets come from the fork server, which runs PHP's start-up.
    #[test]
    fn any_layout_is_survived(numbers in prop::array::uniform18(some_address())) {
        let mut process = Process::default();
        let main = process.main();
        process.call("f", Some("/a.php"), 1, main);
        let [current_frame, script, frame_instruction, frame_function, frame_kind, rest @ ..] = numbers;
        let [frame_caller, function_type, function_name, function_file, instruction_line, rest @ ..] = rest;
        let [function_code, function_length, instruction_size, rest @ ..] = rest;
        let [built_in, string_length, string_text, kind_mask, kind_top_code] = rest;
        let layout = Layout {
            current_frame, script, frame_instruction, frame_function, frame_kind, frame_caller, function_type,
            function_name, function_file, function_code, function_length, built_in, instruction_size, instruction_line, string_length, string_text, kind_mask,
            kind_top_code,
        };
        let memory = |pieces: &[Piece], into: &mut Vec<u8>| process.read(pieces, into);
        take(&memory, &layout, 20).unwrap();
    }
}
