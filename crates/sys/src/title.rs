//! The title of this process in `ps`: written over the memory that held its arguments and environment, the only
//! place the kernel shows to everybody. Longer titles are cut to that room.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::OnceLock;

unsafe extern "C" {
    static mut environ: *mut *mut libc::c_char;
}

/// Where arguments and environment were: first byte and length.
static ROOM: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Sets the title. Call it only while the process has one thread.
pub fn set(title: &[u8]) {
    let Some((start, length)) = *ROOM.get_or_init(take_room) else { return };
    let shown = title.len().min(length - 1);
    let start = ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel named this range as ours and writable; `take_room` moved what pointed into it.
    unsafe { ptr::write_bytes(start, 0, length) };
    // SAFETY: `shown` is below the length of that range, and `title` lies elsewhere: nothing points into the range.
    unsafe { ptr::copy_nonoverlapping(title.as_ptr(), start, shown) };
}

/// Finds the room, and copies the environment out of it. Rust's own arguments are read first: they point there too.
fn take_room() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    // Fields 48 to 51 of proc(5), counted from the state (field 3).
    let [start, end, env_start, env_end] =
        [45, 46, 47, 48].map(|index| fields.get(index).and_then(|field| field.parse::<usize>().ok()));
    let (start, end) = (start?, end?);
    let end = if env_start == Some(end) { env_end? } else { end };
    if start == 0 || end <= start + 1 {
        return None;
    }
    move_environment();
    Some((start, end - start))
}

fn move_environment() {
    let strings = std::env::vars_os().filter_map(|(name, value)| {
        CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).ok()
    });
    let mut pointers: Vec<*mut libc::c_char> = strings.map(CString::into_raw).collect();
    pointers.push(ptr::null_mut());
    // SAFETY: one thread runs; the new array ends in a null pointer, and it and its strings are never freed.
    unsafe { environ = pointers.leak().as_mut_ptr() };
}
