//! Files to a filled-in, unchecked configuration: lines, sections, includes.
//!
//! Three of php-fpm's oddities are kept, for existing files live by them: the current section and the line counter
//! run on through included files, and an include is carried out after its line.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::ini::{Entry, parse_line};
use crate::log::{Fatal, Log, errno_suffix};
use crate::model::{bytes_path, path_bytes};
use crate::paths::{Bases, absolute};
use crate::table::{Accessor, Directive, Kind, Scope, directives, rows};
use crate::value::{self, Field};
use crate::{Config, Diagnostic, EnvEntry, GlobError, Host, Level, Options, PhpValue, Place, Pool, glob};

/// Most files within files.
const MAX_DEPTH: u32 = 5;

pub(crate) struct Reader<'a> {
    pub(crate) config: Config,
    pub(crate) log: Log,
    options: &'a Options,
    host: &'a dyn Host,
    /// Index of the pool whose section it is; `None` in `[global]`.
    current: Option<usize>,
    /// Indices of the pools by name in lower case.
    pools: HashMap<Vec<u8>, usize>,
    file: PathBuf,
    /// The line as php-fpm counts: on through included files.
    line: u32,
    /// The line of `file`.
    own_line: u32,
    /// Whether the section is the one that an included file ended in.
    section_of_include: bool,
    depth: u32,
    include: Option<Vec<u8>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(options: &'a Options, host: &'a dyn Host) -> Self {
        let mut config = Config::default();
        config.global.systemd_interval = -1;
        config.global.pid = options.pid.clone().filter(|p| !p.as_os_str().is_empty());
        let file = PathBuf::new();
        Reader {
            config,
            log: Log::new(),
            options,
            host,
            current: None,
            pools: HashMap::new(),
            file,
            line: 0,
            own_line: 0,
            section_of_include: false,
            depth: 0,
            include: None,
        }
    }

    /// Back to `[global]`, for the next file.
    pub(crate) fn leave_section(&mut self) {
        self.current = None;
    }

    /// Reads a file with everything it includes.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), Fatal> {
        if path.as_os_str().is_empty() {
            return Err(self.error(&[b"configuration filename is empty"], ""));
        }
        let text = match self.host.read(path) {
            Ok(text) => text,
            // Opening a folder for reading succeeds; there is just nothing in it.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Vec::new(),
            Err(error) => {
                let suffix = errno_suffix(&error);
                let parts =
                    [b"failed to open configuration file '".as_slice(), path_bytes(path), b"'", &suffix];
                return Err(self.error(&parts, ""));
            }
        };
        if self.depth >= MAX_DEPTH {
            return Err(self.error(&[b"failed to include more than 5 files recursively"], ""));
        }
        self.depth += 1;
        self.line = 0;
        for (line, own_line) in text.split(|b| *b == b'\n').zip(1..) {
            self.line += 1;
            (self.file, self.own_line) = (path.to_owned(), own_line);
            if !line.is_empty() {
                self.one_line(line)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn one_line(&mut self, line: &[u8]) -> Result<(), Fatal> {
        let mut failed = None;
        let host = self.host;
        let outcome = parse_line(&[line, b"\n"].concat(), host, &mut |entry| {
            if failed.is_none() {
                failed = self.entry(entry).err();
            }
        });
        if let Err(text) = outcome {
            let raw = Diagnostic::raw([b"PHP:  ".as_slice(), &text].concat());
            let hint = "a value with blanks, brackets, quotes or operators needs double quotes around it";
            self.log.push(raw.at(self.place()).hint(hint));
            return Err(Fatal);
        }
        match (failed, self.include.take()) {
            (Some(fatal), _) => Err(fatal),
            (None, Some(pattern)) => self.include(pattern),
            (None, None) => Ok(()),
        }
    }

    fn include(&mut self, pattern: Vec<u8>) -> Result<(), Fatal> {
        let pattern = absolute(pattern, None, &Bases::of(self.options));
        let includer = self.file.clone();
        let from = path_bytes(&includer);
        let line = |reader: &Self| reader.line.to_string().into_bytes();
        match self.host.glob(&pattern) {
            Err(GlobError::NoMatch) => {
                let at = line(self);
                let text: [&[u8]; 7] = [
                    b"Nothing matches the include pattern '",
                    &pattern,
                    b"' from ",
                    from,
                    b" at line ",
                    &at,
                    b".",
                ];
                self.log.push(Diagnostic::new(Level::Warning, text.concat()).at(self.place()));
                Ok(())
            }
            Err(GlobError::Aborted) => {
                let at = line(self);
                let text: [&[u8]; 7] =
                    [b"Unable to globalize '", &pattern, b"' (ret=2) from ", from, b" at line ", &at, b"."];
                Err(self.error(&text, "the pattern's folder does not exist or cannot be read"))
            }
            Ok(paths) => {
                let section = self.current;
                for path in paths.iter().filter(|p| !glob::ends_in_slash(p)) {
                    if self.file(path).is_err() {
                        let at = line(self);
                        let text: [&[u8]; 6] =
                            [b"Unable to include ", path_bytes(path), b" from ", from, b" at line ", &at];
                        self.log.line(Level::Error, &text);
                        return Err(Fatal);
                    }
                }
                self.section_of_include |= self.current != section;
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Fatal> {
        match entry {
            Entry::Section(name) => {
                self.section(name);
                Ok(())
            }
            Entry::Plain { value: None, .. } => Err(self.error_here(
                &[b"value is NULL for a ZEND_INI_PARSER_ENTRY"],
                "a line is a section, a comment with ';' in front, or 'directive = value'",
            )),
            Entry::Plain { name, value: Some(value) } => self.plain(&name, value),
            Entry::Keyed { name, key, value } => self.keyed(&name, key, value),
        }
    }

    fn section(&mut self, name: Vec<u8>) {
        self.section_of_include = false;
        if name.eq_ignore_ascii_case(b"global") {
            self.current = None;
            return;
        }
        let next = self.config.pools.len();
        let index = *self.pools.entry(name.to_ascii_lowercase()).or_insert(next);
        if index == next {
            self.config.pools.push(Pool { name, ..Pool::default() });
        }
        self.current = Some(index);
    }

    fn plain(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), Fatal> {
        if name == b"include" {
            if self.include.is_some() {
                return Err(self.error_here(&[b"two includes at the same time !"], ""));
            }
            self.include = Some(value);
            return Ok(());
        }
        let scope = if self.current.is_some() { Scope::Pool } else { Scope::Global };
        let row = rows(scope).iter().find(|row| {
            row.name.as_bytes().eq_ignore_ascii_case(name)
                && row.available()
                && !matches!(row.kind(), Kind::List | Kind::Map)
        });
        let Some(row) = row else {
            let mut hint = unknown_hint(name, scope);
            if self.section_of_include && hint.starts_with("it belongs") {
                hint += "; after an include, the section goes on that the included file ended in";
            }
            return Err(self.error_here(&[b"unknown entry '", name, b"'"], &hint));
        };
        self.assign(row, value).map_err(|reason| {
            let hint = format!("allowed is {}, for example: {}", row.range, row.example);
            let name = row.name.as_bytes();
            let text: [&[u8]; 4] = [b"unable to parse value for entry '", name, b"': ", reason.as_bytes()];
            self.error_here(&text, &hint)
        })
    }

    /// Stores a scalar value in its field.
    fn assign(&mut self, row: &'static Directive, value: Vec<u8>) -> Result<(), &'static str> {
        let place = self.place();
        let pool_name = self.current.map(|i| self.config.pools[i].name.clone());
        let expand = |value: Vec<u8>| expand_pool(value, pool_name.as_deref());
        let Some(field) = self.field(row) else { return Ok(()) };
        match field {
            Field::Text(slot) => *slot = Some(expand(value)?),
            Field::Bytes(slot) => *slot = expand(value)?,
            Field::Path(slot) => *slot = Some(bytes_path(&expand(value)?)),
            Field::BarePath(slot) => *slot = bytes_path(&expand(value)?),
            Field::Executable(slot) => {
                let path = expand(value)?;
                if !path.is_empty() && !path.starts_with(b"/") {
                    return Err("must be an absolute path");
                }
                *slot = Some(bytes_path(&path)).filter(|p| !p.as_os_str().is_empty());
            }
            Field::Int(slot) => *slot = value::integer(&value)?,
            Field::Priority(slot) => {
                *slot = Some(value::integer(&value)?).filter(|n| *n != value::PRIORITY_UNSET);
            }
            Field::Time(slot) => slot.0 = value::time(&value)?,
            Field::Interval(slot) => *slot = value::time(&value)?,
            Field::Bool(slot) => *slot = value::boolean(&value)?,
            Field::Level(slot) => *slot = Some(value::level(&value)?),
            Field::Facility(slot) => *slot = value::facility(&value)?,
            Field::Core(slot) => *slot = value::core_limit(&value)?,
            Field::Manager(slot) => *slot = value::process_manager(&value)?,
            Field::Renewal(slot) => *slot = value::renewal(&value)?,
            Field::Startup(slot) => *slot = value::startup_user(&value)?,
            Field::Sigterm(slot) => *slot = value::sigterm(&value)?,
            Field::List(_) | Field::Env(_) | Field::Values(_) | Field::Flags(_) => {}
        }
        self.remember(row.name, place);
        Ok(())
    }

    fn keyed(&mut self, name: &[u8], key: Vec<u8>, value: Vec<u8>) -> Result<(), Fatal> {
        let is_list = name == b"access.suppress_path";
        if is_list {
            let mut outcome = Ok(());
            if !key.is_empty() {
                let text = b"Keys provided to field 'access.suppress_path' are ignored";
                outcome = Err(self.error_here(&[text], "write: access.suppress_path[] = /path"));
            }
            if !value.starts_with(b"/") {
                let text = b"Values provided to field 'access.suppress_path' must begin with '/'";
                outcome = Err(self.error_here(&[text], ""));
            }
            outcome?;
        } else if key.is_empty() {
            let example = "write for example: php_admin_value[memory_limit] = 64M";
            return Err(self.error_here(&[b"You must provide a key for field '", name, b"'"], example));
        }
        let Some(pool) = self.current else {
            let hint = "it belongs in a pool's section";
            return Err(self.error_here(&[b"Array are not allowed in the global section"], hint));
        };
        if name == b"env" && value.is_empty() {
            return Err(self.error_here(&[b"empty value"], ""));
        }
        let row = rows(Scope::Pool)
            .iter()
            .find(|row| row.name.as_bytes() == name && matches!(row.kind(), Kind::List | Kind::Map));
        let Some(row) = row else {
            let hint =
                "known are env, php_value, php_flag, php_admin_value, php_admin_flag, access.suppress_path";
            return Err(self.error_here(&[b"unknown directive '", name, b"'"], hint));
        };
        self.append(pool, row, &key, value).map_err(|reason| {
            let reason = reason.as_bytes();
            self.error_here(&[b"error while parsing '", name, b"[", &key, b"]' : ", reason], row.range)
        })
    }

    /// Adds an entry to a list or map.
    fn append(
        &mut self,
        pool: usize,
        row: &'static Directive,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<(), &'static str> {
        let place = self.place();
        let pool_name = self.config.pools[pool].name.clone();
        let key = key.to_vec();
        match self.field(row) {
            Some(Field::List(list)) => list.push(expand_pool(value, Some(&pool_name))?),
            Some(Field::Env(list)) => {
                list.push(EnvEntry { name: key, value: expand_pool(value, Some(&pool_name))? });
            }
            Some(Field::Values(list)) => {
                list.push(PhpValue { key, value: expand_pool(value, Some(&pool_name))? })
            }
            Some(Field::Flags(list)) => {
                let digit: &[u8] = if value::boolean(&value)? { b"1" } else { b"0" };
                list.push(PhpValue { key, value: digit.to_vec() });
            }
            _ => {}
        }
        self.remember(row.name, place);
        Ok(())
    }

    fn field(&mut self, row: &Directive) -> Option<Field<'_>> {
        match (row.place, self.current) {
            (Accessor::Global(place), _) => Some(place(&mut self.config.global)),
            (Accessor::Pool(place), Some(pool)) => Some(place(&mut self.config.pools[pool])),
            (Accessor::Pool(_), None) => None,
        }
    }

    fn remember(&mut self, name: &'static str, place: Option<Place>) {
        let places = match self.current {
            Some(pool) => &mut self.config.pools[pool].places,
            None => &mut self.config.global.places,
        };
        places.extend(place.map(|place| (name, place)));
    }

    fn place(&self) -> Option<Place> {
        Some(Place { file: self.file.clone(), line: self.own_line })
    }

    /// An error whose text starts with `[file:line] `.
    fn error_here(&mut self, parts: &[&[u8]], hint: &str) -> Fatal {
        let line = self.line.to_string();
        let start = [b"[", path_bytes(&self.file), b":", line.as_bytes(), b"] "].concat();
        let all: Vec<&[u8]> = std::iter::once(start.as_slice()).chain(parts.iter().copied()).collect();
        self.error(&all, hint)
    }

    fn error(&mut self, parts: &[&[u8]], hint: &str) -> Fatal {
        let place = self.place().filter(|p| p.line > 0);
        self.log.fatal(Level::Error, parts, place.as_ref(), hint)
    }
}

/// Replaces `$pool`, also where a replacement forms it anew, each time the leftmost one. Where php-fpm would never end
/// (a pool whose own name holds the token), or run out of memory, it stops.
fn expand_pool(value: Vec<u8>, pool: Option<&[u8]>) -> Result<Vec<u8>, &'static str> {
    const TOKEN: &[u8] = b"$pool";
    const LONGEST: usize = 16 << 20;
    if !value.windows(TOKEN.len()).any(|w| w == TOKEN) {
        return Ok(value);
    }
    let name = pool.ok_or("Can't use '$pool' when the pool is not defined")?;
    let is_endless = name.windows(TOKEN.len()).any(|w| w == TOKEN);
    let mut replacements = value.len();
    let mut expanded = Vec::with_capacity(value.len());
    // What is still to be read, last byte first, so that a name can be put in front.
    let mut rest: Vec<u8> = value.into_iter().rev().collect();
    while let Some(byte) = rest.pop() {
        expanded.push(byte);
        if replacements == 0 || !expanded.ends_with(TOKEN) {
            continue;
        }
        replacements = if is_endless { 0 } else { replacements - 1 };
        expanded.truncate(expanded.len() - TOKEN.len());
        rest.extend(name.iter().rev());
        if expanded.len() + rest.len() > LONGEST {
            return Err("is too long with the pool's name in it");
        }
    }
    Ok(expanded)
}

/// What the writer may have meant by a name that is not known here.
fn unknown_hint(name: &[u8], scope: Scope) -> String {
    let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
    if let Some(row) = directives().find(|row| row.name == lower) {
        return match (row.kind(), row.scope == scope) {
            (Kind::List, _) => format!("write: {}", row.example),
            (Kind::Map, _) => format!("write for example: {}", row.example),
            (_, true) => "it does not exist on this system".to_owned(),
            (_, false) if scope == Scope::Global => "it belongs in a pool's section".to_owned(),
            (_, false) => "it belongs in [global]".to_owned(),
        };
    }
    let near = rows(scope).iter().map(|row| (distance(&lower, row.name), row.name)).min();
    match near {
        Some((steps, name)) if steps <= 2 => format!("did you mean {name}?"),
        _ if lower.starts_with('#') => "comments start with ';'".to_owned(),
        _ => String::new(),
    }
}

/// Levenshtein's distance; far lengths are not looked at.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
