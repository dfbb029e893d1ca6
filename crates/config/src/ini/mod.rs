//! One line of PHP's INI language, normal scanner mode, as the 8.2 engine reads it.
//!
//! php-fpm hands every line of its file alone to the engine, so a line is the whole input here. Bytes in, entries
//! out; nothing is known about directives.

mod grammar;
mod lexer;

pub(crate) use grammar::{Entry, parse_line};
