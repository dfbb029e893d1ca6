//! Tokens to entries, with the messages of the engine's generated parser, down to the lists of what it expected.

use super::lexer::{Kind, Lexer, Token};
use crate::value::atoi;
use crate::{Host, constants};

/// What a line holds, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `[name]`
    Section(Vec<u8>),
    /// `name = value`, or a lone `name`.
    Plain { name: Vec<u8>, value: Option<Vec<u8>> },
    /// `name[key] = value`
    Keyed { name: Vec<u8>, key: Vec<u8>, value: Vec<u8> },
}

/// Deeper nesting of parentheses than this is refused, as the engine refuses its own limit.
const MAX_DEPTH: u32 = 500;

/// Reads one line (with its newline). Entries before a syntax error are reported first, then the error: the sentence
/// the engine would print.
pub(crate) fn parse_line(line: &[u8], host: &dyn Host, report: &mut dyn FnMut(Entry)) -> Result<(), Vec<u8>> {
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let mut lexer = Lexer::new(line);
    let token = lexer.next();
    let mut parser = Parser { lexer, token, host, depth: 0 };
    parser.statements(report)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    host: &'a dyn Host,
    depth: u32,
}

type Parsed = Result<Vec<u8>, Vec<u8>>;

impl Parser<'_> {
    fn statements(&mut self, report: &mut dyn FnMut(Entry)) -> Result<(), Vec<u8>> {
        loop {
            match self.token.kind {
                Kind::End => return Ok(()),
                Kind::EndOfLine => drop(self.advance()),
                Kind::Section => {
                    self.advance();
                    let name = self.strings(false)?;
                    self.expect(b']', "']'")?;
                    report(Entry::Section(name));
                }
                Kind::Label => {
                    let name = self.advance();
                    let value = if self.token.kind == Kind::Char(b'=') {
                        self.advance();
                        Some(self.value()?)
                    } else {
                        None
                    };
                    report(Entry::Plain { name, value });
                }
                Kind::Offset => {
                    let name = self.advance();
                    let key = self.strings(true)?;
                    self.expect(b']', "']'")?;
                    self.expect(b'=', "'='")?;
                    let value = self.value()?;
                    report(Entry::Keyed { name, key, value });
                }
                _ => return Err(self.unexpected("")),
            }
        }
    }

    fn value(&mut self) -> Parsed {
        match self.token.kind {
            // A value ends where the line does; the token behind it is only looked at by the next statement.
            Kind::True | Kind::False | Kind::Null | Kind::EndOfLine => Ok(self.advance()),
            _ => self.expression(),
        }
    }

    fn expression(&mut self) -> Parsed {
        let mut left = self.operand()?;
        while let Kind::Char(operator @ (b'|' | b'&' | b'^')) = self.token.kind {
            self.advance();
            let right = self.operand()?;
            let (a, b) = (atoi(&left), atoi(&right));
            let result = match operator {
                b'|' => a | b,
                b'&' => a & b,
                _ => a ^ b,
            };
            left = result.to_string().into_bytes();
        }
        Ok(left)
    }

    fn operand(&mut self) -> Parsed {
        let Kind::Char(operator @ (b'~' | b'!' | b'(')) = self.token.kind else {
            if !self.starts_string() {
                return Err(self.unexpected(""));
            }
            return self.strings(true);
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("memory exhausted in Unknown on line {}", self.lexer.line).into_bytes());
        }
        self.advance();
        let inner = if operator == b'(' {
            let inner = self.expression()?;
            self.expect(b')', "'^' or '|' or '&' or ')'")?;
            inner
        } else {
            let number = atoi(&self.operand()?);
            let result = if operator == b'~' { !number } else { i32::from(number == 0) };
            result.to_string().into_bytes()
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn starts_string(&self) -> bool {
        matches!(
            self.token.kind,
            Kind::DollarCurly
                | Kind::Constant
                | Kind::Raw
                | Kind::Number
                | Kind::Str
                | Kind::Whitespace
                | Kind::Char(b'"')
        )
    }

    /// Strings side by side; may be none. Constants count by name or, where `resolve`, by value.
    fn strings(&mut self, resolve: bool) -> Parsed {
        let mut all = Vec::new();
        while self.starts_string() {
            match self.token.kind {
                Kind::DollarCurly => all.extend(self.variable()?),
                Kind::Char(_) => all.extend(self.quoted()?),
                Kind::Constant if resolve => {
                    let name = self.advance();
                    all.extend(constants::value(&name).unwrap_or(name));
                }
                _ => all.extend(self.advance()),
            }
        }
        Ok(all)
    }

    fn variable(&mut self) -> Parsed {
        self.advance();
        if self.token.kind != Kind::VarName {
            return Err(self.unexpected("TC_VARNAME"));
        }
        let name = self.advance();
        self.expect(b'}', "'}'")?;
        let value = |name: &[u8]| self.host.ini(name).or_else(|| self.host.env(name));
        // `${NAME:-text}` is PHP 8.3's; to 8.2 the whole is a name, of a variable that nobody has.
        let with_fallback = || {
            let at = name.windows(2).position(|pair| pair == b":-")?;
            Some(value(&name[..at]).unwrap_or_else(|| name[at + 2..].to_vec()))
        };
        Ok(value(&name).or_else(with_fallback).unwrap_or_default())
    }

    fn quoted(&mut self) -> Parsed {
        self.advance();
        let mut all = Vec::new();
        loop {
            match self.token.kind {
                Kind::DollarCurly => all.extend(self.variable()?),
                Kind::Quoted => all.extend(self.advance()),
                Kind::Char(b'"') => {
                    self.advance();
                    return Ok(all);
                }
                _ => return Err(self.unexpected("TC_DOLLAR_CURLY or TC_QUOTED_STRING or '\"'")),
            }
        }
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Vec<u8>> {
        if self.token.kind != Kind::Char(byte) {
            return Err(self.unexpected(expected));
        }
        self.advance();
        Ok(())
    }

    fn advance(&mut self) -> Vec<u8> {
        let next = self.lexer.next();
        std::mem::replace(&mut self.token, next).text
    }

    fn unexpected(&self, expected: &str) -> Vec<u8> {
        let line = self.lexer.line;
        let name = spelled(self.token.kind);
        let list = if expected.is_empty() { String::new() } else { format!(", expecting {expected}") };
        format!("syntax error, unexpected {name}{list} in Unknown on line {line}").into_bytes()
    }
}

/// The engine's name of a token.
fn spelled(kind: Kind) -> String {
    let name = match kind {
        Kind::End => "end of file",
        Kind::Section => "TC_SECTION",
        Kind::Raw => "TC_RAW",
        Kind::Constant => "TC_CONSTANT",
        Kind::Number => "TC_NUMBER",
        Kind::Str => "TC_STRING",
        Kind::Whitespace => "TC_WHITESPACE",
        Kind::Label => "TC_LABEL",
        Kind::Offset => "TC_OFFSET",
        Kind::DollarCurly => "TC_DOLLAR_CURLY",
        Kind::VarName => "TC_VARNAME",
        Kind::Quoted => "TC_QUOTED_STRING",
        Kind::True => "BOOL_TRUE",
        Kind::False => "BOOL_FALSE",
        Kind::Null => "NULL_NULL",
        Kind::EndOfLine => "END_OF_LINE",
        Kind::Char(byte) => return format!("'{}'", byte as char),
    };
    name.to_owned()
}
