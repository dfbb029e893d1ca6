//! Bytes of a line to tokens. The scanner is a set of states; in each, the longest match wins, and of equally long
//! ones the first in the engine's order. Running off the end within a token ends the input, as it does there.

/// Kind of a token; `Char` is a character standing for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Section,
    Raw,
    Constant,
    Number,
    Str,
    Whitespace,
    Label,
    Offset,
    DollarCurly,
    VarName,
    Quoted,
    True,
    False,
    Null,
    EndOfLine,
    Char(u8),
}

/// A token with its text (after unquoting).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Initial,
    Value,
    SectionValue,
    Offset,
    Quotes,
    VarName,
}

/// The scanner over one line.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    state: State,
    stack: Vec<State>,
    /// The engine's own line counter, which its messages show.
    pub(super) line: u32,
}

/// The winner so far: length and what to do.
struct Best {
    len: usize,
    rule: Rule,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    End,
    Skip,
    Newline,
    Comment,
    SectionStart,
    SectionEnd,
    OffsetStart,
    OffsetEnd,
    Label,
    VarLabel,
    VarEnd,
    Equals,
    EqualsAgain,
    Text(Kind),
    RawQuoted,
    RawOpen,
    Dollar,
    QuoteOpen,
    QuoteClose,
    QuotedText,
    Itself,
    ValueOver,
}

impl Best {
    fn offer(&mut self, len: Option<usize>, rule: Rule) {
        if let Some(len) = len.filter(|l| *l > self.len) {
            *self = Best { len, rule };
        }
    }
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let at = if text.len() > 3 && text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Lexer { text, at, state: State::Initial, stack: Vec::new(), line: 1 }
    }

    /// The next token; `End` for ever at the end.
    pub(super) fn next(&mut self) -> Token {
        loop {
            if self.at >= self.text.len() {
                if self.state == State::Value {
                    self.state = State::Initial;
                    return Token { kind: Kind::EndOfLine, text: Vec::new() };
                }
                return Token { kind: Kind::End, text: Vec::new() };
            }
            if let Some(token) = self.step() {
                return token;
            }
        }
    }

    fn step(&mut self) -> Option<Token> {
        let best = match self.state {
            State::Initial => self.initial(),
            State::Value => self.value(),
            State::SectionValue => self.bracketed(true),
            State::Offset => self.bracketed(false),
            State::Quotes => self.quotes(),
            State::VarName => self.var_name(),
        };
        let matched = &self.text[self.at..self.at + best.len];
        self.at += best.len;
        self.act(best.rule, matched)
    }

    fn act(&mut self, rule: Rule, matched: &[u8]) -> Option<Token> {
        let (kind, text) = match rule {
            Rule::Skip => return None,
            Rule::End | Rule::RawOpen => {
                self.at = self.text.len();
                self.state = State::Initial;
                (Kind::End, Vec::new())
            }
            Rule::Newline | Rule::Comment => {
                self.state = State::Initial;
                self.line += 1;
                (Kind::EndOfLine, Vec::new())
            }
            Rule::SectionStart => self.enter(State::SectionValue, Kind::Section),
            Rule::SectionEnd => {
                self.line += 1;
                self.enter(State::Initial, Kind::Char(b']'))
            }
            Rule::OffsetStart => {
                self.state = State::Offset;
                let label = trim_end(matched, b'[');
                (Kind::Offset, trim_start(label).to_vec())
            }
            Rule::OffsetEnd => self.enter(State::Initial, Kind::Char(b']')),
            Rule::Label => (Kind::Label, trim_start(trim_end(matched, b' ')).to_vec()),
            Rule::VarLabel => (Kind::VarName, trim_start(trim_end(matched, b' ')).to_vec()),
            Rule::VarEnd => self.leave(Kind::Char(b'}')),
            Rule::Equals => self.enter(State::Value, Kind::Char(b'=')),
            Rule::EqualsAgain => {
                self.at -= matched.len();
                self.enter(State::Initial, Kind::EndOfLine)
            }
            Rule::Text(Kind::True) => (Kind::True, b"1".to_vec()),
            Rule::Text(kind @ (Kind::False | Kind::Null)) => (kind, Vec::new()),
            Rule::Text(kind) => (kind, matched.to_vec()),
            Rule::RawQuoted => (Kind::Raw, matched[1..matched.len() - 1].to_vec()),
            Rule::Dollar => self.push(State::VarName, Kind::DollarCurly),
            Rule::QuoteOpen => self.push(State::Quotes, Kind::Char(b'"')),
            Rule::QuoteClose => self.leave(Kind::Char(b'"')),
            Rule::QuotedText => (Kind::Quoted, self.unescape(matched)),
            Rule::Itself => (Kind::Char(matched[0]), Vec::new()),
            Rule::ValueOver => self.enter(State::Initial, Kind::EndOfLine),
        };
        Some(Token { kind, text })
    }

    fn enter(&mut self, state: State, kind: Kind) -> (Kind, Vec<u8>) {
        self.state = state;
        (kind, Vec::new())
    }

    fn push(&mut self, state: State, kind: Kind) -> (Kind, Vec<u8>) {
        self.stack.push(self.state);
        self.enter(state, kind)
    }

    fn leave(&mut self, kind: Kind) -> (Kind, Vec<u8>) {
        let state = self.stack.pop().unwrap_or(State::Initial);
        self.enter(state, kind)
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Before a value: labels, sections, the equals sign. Names may hold anything else, and so run off an end that no
    /// newline marks (there was a NUL).
    fn initial(&self) -> Best {
        let rest = self.rest();
        let blank = span(rest, is_blank);
        let label = span(rest, is_label);
        if label == rest.len() {
            return Best { len: label, rule: Rule::End };
        }
        let mut best = Best { len: 0, rule: Rule::End };
        best.offer(rest.starts_with(b"[").then_some(1), Rule::SectionStart);
        if label > 0 && rest.get(label) == Some(&b'[') {
            best.offer(Some(label + 1 + span(&rest[label + 1..], is_blank)), Rule::OffsetStart);
        }
        offer_words(&mut best, rest);
        best.offer(Some(label), Rule::Label);
        if rest.get(blank) == Some(&b'=') {
            best.offer(Some(blank + 1 + span(&rest[blank + 1..], is_blank)), Rule::Equals);
        }
        best.offer(is_token(rest[0]).then_some(1), Rule::Itself);
        best.offer(Some(blank), Rule::Skip);
        offer_line_end(&mut best, rest, blank);
        best
    }

    /// Right of the equals sign.
    fn value(&self) -> Best {
        let rest = self.rest();
        let blank = span(rest, is_blank);
        let mut best = Best { len: 0, rule: Rule::ValueOver };
        offer_raw(&mut best, rest);
        best.offer(rest.starts_with(b"${").then_some(2), Rule::Dollar);
        offer_words(&mut best, rest);
        best.offer(newline(&rest[blank..]).map(|n| blank + n), Rule::Newline);
        best.offer(constant(rest), Rule::Text(Kind::Constant));
        best.offer(number(rest), Rule::Text(Kind::Number));
        if matches!(rest[0], b'&' | b'|' | b'^' | b'~' | b'(' | b')' | b'!') {
            best.offer(Some(1 + span(&rest[1..], is_blank)), Rule::Itself);
        }
        best.offer(rest.starts_with(b"=").then_some(1), Rule::EqualsAgain);
        best.offer(Some(run(rest, is_value, false)), Rule::Text(Kind::Str));
        best.offer((rest.get(blank) == Some(&b'"')).then_some(blank + 1), Rule::QuoteOpen);
        best.offer(Some(blank), Rule::Text(Kind::Whitespace));
        offer_line_end(&mut best, rest, blank);
        best.offer(Some(1), Rule::ValueOver);
        best
    }

    /// Within brackets: a section's name, or the key of an array entry.
    fn bracketed(&self, section: bool) -> Best {
        let rest = self.rest();
        let blank = span(rest, is_blank);
        let mut best = Best { len: 0, rule: Rule::End };
        offer_raw(&mut best, rest);
        if section && rest.starts_with(b"]") {
            let blanks = 1 + span(&rest[1..], is_blank);
            best.offer(Some(blanks + newline(&rest[blanks..]).unwrap_or(0)), Rule::SectionEnd);
        } else if !section && rest.get(blank) == Some(&b']') {
            best.offer(Some(blank + 1), Rule::OffsetEnd);
        }
        best.offer(rest.starts_with(b"${").then_some(2), Rule::Dollar);
        best.offer(constant(rest), Rule::Text(Kind::Constant));
        best.offer(number(rest), Rule::Text(Kind::Number));
        best.offer(Some(run(rest, is_bracketed, true)), Rule::Text(Kind::Str));
        best.offer((rest.get(blank) == Some(&b'"')).then_some(blank + 1), Rule::QuoteOpen);
        best.offer(Some(blank), Rule::Text(Kind::Whitespace));
        best
    }

    fn quotes(&self) -> Best {
        let rest = self.rest();
        if rest.starts_with(b"${") {
            return Best { len: 2, rule: Rule::Dollar };
        }
        if rest[0] == b'"' {
            return Best { len: 1 + span(&rest[1..], is_blank), rule: Rule::QuoteClose };
        }
        Best { len: quoted_len(rest), rule: Rule::QuotedText }
    }

    fn var_name(&self) -> Best {
        let rest = self.rest();
        let label = span(rest, is_label);
        if label == rest.len() {
            return Best { len: label, rule: Rule::End };
        }
        let mut best = Best { len: 0, rule: Rule::End };
        best.offer(Some(label), Rule::VarLabel);
        best.offer(rest.starts_with(b"}").then_some(1), Rule::VarEnd);
        best
    }

    /// `\"`, `\\` and `\$` lose their backslash, all others keep it.
    fn unescape(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let mut last = byte;
            if byte == b'\\' {
                match bytes.next() {
                    Some(escaped @ (b'"' | b'\\' | b'$')) => {
                        out.push(escaped);
                        last = escaped;
                    }
                    Some(other) => {
                        out.extend([b'\\', other]);
                        last = other;
                    }
                    None => out.push(b'\\'),
                }
            } else {
                out.push(byte);
            }
            if last == b'\n' || (last == b'\r' && bytes.peek() != Some(&b'\n')) {
                self.line += 1;
            }
        }
        out
    }
}

/// `true on yes`, `false off no none`, `null`, any case, with the blanks behind them.
fn offer_words(best: &mut Best, rest: &[u8]) {
    const WORDS: [(&[u8], Kind); 8] = [
        (b"true", Kind::True),
        (b"on", Kind::True),
        (b"yes", Kind::True),
        (b"false", Kind::False),
        (b"off", Kind::False),
        (b"none", Kind::False),
        (b"no", Kind::False),
        (b"null", Kind::Null),
    ];
    for (word, kind) in WORDS {
        if rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word) {
            best.offer(Some(word.len() + span(&rest[word.len()..], is_blank)), Rule::Text(kind));
        }
    }
}

/// The end of a line, with or without a comment. A comment that no newline ends runs off the input.
fn offer_line_end(best: &mut Best, rest: &[u8], blank: usize) {
    best.offer(newline(&rest[blank..]).map(|n| blank + n), Rule::Newline);
    if rest.get(blank) == Some(&b';') {
        let text = blank + span(&rest[blank..], |b| b != b'\n' && b != b'\r');
        match newline(&rest[text..]) {
            Some(n) => best.offer(Some(text + n), Rule::Comment),
            None => best.offer(Some(rest.len()), Rule::End),
        }
    }
}

/// `'…'` with something inside; without a second quote the input is over.
fn offer_raw(best: &mut Best, rest: &[u8]) {
    if rest[0] != b'\'' || rest.get(1) == Some(&b'\'') {
        return;
    }
    match rest[1..].iter().position(|b| *b == b'\'') {
        Some(end) => best.offer(Some(end + 2), Rule::RawQuoted),
        None => best.offer(Some(rest.len()), Rule::RawOpen),
    }
}

fn newline(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

fn constant(rest: &[u8]) -> Option<usize> {
    rest.first().filter(|b| b.is_ascii_alphabetic() || **b == b'_')?;
    Some(span(rest, |b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// `-?digits`, or digits with one dot and at least one digit.
fn number(rest: &[u8]) -> Option<usize> {
    let minus = usize::from(rest.starts_with(b"-"));
    let whole = span(&rest[minus..], |b| b.is_ascii_digit());
    let dotted = if minus == 0 && rest.get(whole) == Some(&b'.') {
        let fraction = span(&rest[whole + 1..], |b| b.is_ascii_digit());
        (whole + fraction > 0).then_some(whole + 1 + fraction)
    } else {
        None
    };
    dotted.or((whole > 0).then_some(minus + whole))
}

/// The longest run of plain characters, literal dollars (`$` and one more character other than `{`, or `$\` and
/// any) and, in brackets, escaped characters. Reachability rather than greed, for `$\` can be read in two ways.
fn run(rest: &[u8], plain: fn(u8) -> bool, escapes: bool) -> usize {
    // Only the next three positions can be reachable at a time.
    let mut reach = [true, false, false, false];
    let mut longest = 0;
    for at in 0..=rest.len() {
        if reach == [false; 4] {
            break;
        }
        if reach[0] {
            longest = at;
            if let Some(&byte) = rest.get(at) {
                let (second, third) = (rest.get(at + 1), rest.get(at + 2));
                reach[1] |= plain(byte);
                reach[2] |= escapes && byte == b'\\' && second.is_some();
                reach[2] |= byte == b'$' && second.is_some_and(|b| *b != b'{');
                reach[3] |= byte == b'$' && second == Some(&b'\\') && third.is_some();
            }
        }
        reach = [reach[1], reach[2], reach[3], false];
    }
    longest
}

/// Length of the text within double quotes up to the closing quote, a variable, or the end. A backslash guards the
/// quote behind it, except when the line ends there (Windows paths).
fn quoted_len(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'"' => return at,
            b'$' if rest.get(at + 1) == Some(&b'{') => return at,
            b'\\' if at + 1 < rest.len() => {
                if rest[at + 1] == b'"' && matches!(rest.get(at + 2), None | Some(b'\n' | b'\r')) {
                    return at + 1;
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn span(rest: &[u8], allowed: impl Fn(u8) -> bool) -> usize {
    rest.iter().position(|b| !allowed(*b)).unwrap_or(rest.len())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_label(byte: u8) -> bool {
    !b"=\n\r\t;&|^$~(){}!\"[".contains(&byte)
}

fn is_token(byte: u8) -> bool {
    b":,.[]\"'()&|^+-/*=%$!~<>?@{}".contains(&byte)
}

fn is_value(byte: u8) -> bool {
    !b"$= \t\n\r;&|^~()!\"'".contains(&byte)
}

fn is_bracketed(byte: u8) -> bool {
    !b"$\n\r;\"'\\]".contains(&byte)
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[span(text, is_blank)..]
}

/// Without trailing white space and `extra`.
fn trim_end(text: &[u8], extra: u8) -> &[u8] {
    let keep = text.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | b'\t' | b' ') && *b != extra);
    &text[..keep.map_or(0, |k| k + 1)]
}
