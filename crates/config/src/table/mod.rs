//! THE table of directives: each one once, with everything that is said about it.
//!
//! The reader finds a directive's place and type here, the dump its order and spelling, the documentation the rest.
//! Rows stand in the order of `-tt`.

mod global;
mod pool;

use crate::value::Field;
use crate::{Global, Pool};

/// Where a directive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In `[global]`.
    Global,
    /// In a pool's section.
    Pool,
}

/// What its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    String,
    /// A path; relative ones get a prefix.
    Path,
    /// A whole number.
    Integer,
    /// A number with `s`, `m`, `h` or `d`; seconds.
    Time,
    /// Yes or no.
    Boolean,
    /// One of a few words.
    Word,
    /// `name[] = value`, any number of times.
    List,
    /// `name[key] = value`, any number of times.
    Map,
}

/// A row of the table.
pub struct Directive {
    /// Name as documented; case does not matter in files, except for lists and maps.
    pub name: &'static str,
    /// Section it belongs to.
    pub scope: Scope,
    /// Whether it is cornac's own: php-fpm refuses files that have it.
    pub own: bool,
    /// Default as text.
    pub default: &'static str,
    /// What is allowed.
    pub range: &'static str,
    /// The version of php-fpm (or of cornac, for its own) that has it first.
    pub since: &'static str,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// A line as it may stand in a file.
    pub example: &'static str,
    pub(crate) place: Accessor,
    pub(crate) dump: Dump,
}

impl Kind {
    /// The type in words.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::String => "text",
            Kind::Path => "path",
            Kind::Integer => "number",
            Kind::Time => "time",
            Kind::Boolean => "yes or no",
            Kind::Word => "word",
            Kind::List => "list",
            Kind::Map => "map",
        }
    }
}

/// How a row finds its field.
#[derive(Clone, Copy)]
pub(crate) enum Accessor {
    Global(fn(&mut Global) -> Field<'_>),
    Pool(fn(&mut Pool) -> Field<'_>),
}

/// Whether and how `-tt` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dump {
    Shown,
    /// Without the unit.
    Bare,
    /// Only where it was given (cornac's own).
    IfGiven,
    Hidden,
}

/// The words of a row: default, range, since, doc, example.
type Words = [&'static str; 5];

const fn row(name: &'static str, scope: Scope, place: Accessor, words: Words) -> Directive {
    let [default, range, since, doc, example] = words;
    Directive { name, scope, own: false, default, range, since, doc, example, place, dump: Dump::Shown }
}

const fn global(name: &'static str, place: fn(&mut Global) -> Field<'_>, words: Words) -> Directive {
    row(name, Scope::Global, Accessor::Global(place), words)
}

const fn pool(name: &'static str, place: fn(&mut Pool) -> Field<'_>, words: Words) -> Directive {
    row(name, Scope::Pool, Accessor::Pool(place), words)
}

impl Directive {
    const fn bare(mut self) -> Self {
        self.dump = Dump::Bare;
        self
    }

    const fn hidden(mut self) -> Self {
        self.dump = Dump::Hidden;
        self
    }

    const fn own(mut self) -> Self {
        self.own = true;
        self.dump = Dump::IfGiven;
        self
    }

    /// The type of the value.
    pub fn kind(&self) -> Kind {
        let (mut globals, mut pools) = (Global::default(), Pool::default());
        let field = match self.place {
            Accessor::Global(place) => place(&mut globals),
            Accessor::Pool(place) => place(&mut pools),
        };
        match field {
            Field::Text(_) | Field::Bytes(_) => Kind::String,
            Field::Path(_) | Field::BarePath(_) | Field::Executable(_) => Kind::Path,
            Field::Int(_) | Field::Priority(_) | Field::Core(_) => Kind::Integer,
            Field::Time(_) | Field::Interval(_) => Kind::Time,
            Field::Bool(_) => Kind::Boolean,
            Field::Level(_)
            | Field::Facility(_)
            | Field::Manager(_)
            | Field::Startup(_)
            | Field::Sigterm(_) => Kind::Word,
            Field::List(_) => Kind::List,
            Field::Renewal(_) => Kind::Word,
            Field::Env(_) | Field::Values(_) | Field::Flags(_) => Kind::Map,
        }
    }

    /// As a file writes it: `name`, `name[]` or `name[key]`.
    pub fn spelling(&self) -> String {
        match self.kind() {
            Kind::List => format!("{}[]", self.name),
            Kind::Map => format!("{}[key]", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// Whether it exists on this system (`listen.setfib` is FreeBSD's).
    pub fn available(&self) -> bool {
        cfg!(target_os = "freebsd") || self.name != "listen.setfib"
    }
}

/// All directives: global ones, then pool ones, each in the order of `-tt`; cornac's own last in each.
pub fn directives() -> impl Iterator<Item = &'static Directive> {
    global::TABLE.iter().chain(pool::TABLE)
}

/// The rows of a scope.
pub(crate) fn rows(scope: Scope) -> &'static [Directive] {
    match scope {
        Scope::Global => global::TABLE,
        Scope::Pool => pool::TABLE,
    }
}
