//! The lines of `-tt`, driven by the table.

use crate::model::{CoreLimit, Places, ProcessManager, Sigterm, StartupUser, path_bytes};
use crate::table::{Accessor, Directive, Dump, Scope, rows};
use crate::value::Field;
use crate::{Config, Level};

/// The lines of `-tt`, without time stamp and level, in order: sections, directives with a leading TAB, separators.
pub fn dump(config: &Config) -> Vec<Vec<u8>> {
    let mut config = config.clone();
    let mut lines = vec![b"[global]".to_vec()];
    let places = config.global.places.clone();
    for row in rows(Scope::Global) {
        if let Accessor::Global(place) = row.place {
            show(row, place(&mut config.global), &places, &mut lines);
        }
    }
    lines.push(b" ".to_vec());
    for pool in config.pools.iter_mut().filter(|pool| pool.status_of.is_none()) {
        lines.push([b"[", pool.name.as_slice(), b"]"].concat());
        let places = pool.places.clone();
        // An unset format is only filled in where there is a log for it.
        let no_format = pool.access_format.is_empty() && !places.contains_key("access.format");
        if no_format {
            pool.access_format = b"undefined".to_vec();
        }
        for row in rows(Scope::Pool) {
            if let Accessor::Pool(place) = row.place {
                show(row, place(pool), &places, &mut lines);
            }
        }
        lines.push(b" ".to_vec());
    }
    lines
}

fn show(row: &Directive, field: Field<'_>, places: &Places, lines: &mut Vec<Vec<u8>>) {
    let shown = match row.dump {
        Dump::Shown | Dump::Bare => true,
        Dump::IfGiven => places.contains_key(row.name),
        Dump::Hidden => false,
    };
    if !shown {
        return;
    }
    let mut line = |suffix: &[u8], value: &[u8]| {
        lines.push([b"\t", row.name.as_bytes(), suffix, b" = ", value].concat());
    };
    // The lists were built back to front, and are shown so.
    match field {
        Field::List(list) => list.iter().rev().for_each(|value| line(b"[]", value)),
        Field::Env(entries) => {
            entries.iter().rev().for_each(|e| line(&[b"[", e.name.as_slice(), b"]"].concat(), &e.value));
        }
        Field::Values(entries) | Field::Flags(entries) => {
            entries.iter().rev().for_each(|e| line(&[b"[", e.key.as_slice(), b"]"].concat(), &e.value));
        }
        scalar => line(b"", &text(scalar, row.dump == Dump::Bare)),
    }
}

fn text(field: Field<'_>, bare: bool) -> Vec<u8> {
    let undefined = || b"undefined".to_vec();
    let number = |n: i32| n.to_string().into_bytes();
    let seconds = |n: i32| if bare { number(n) } else { format!("{n}s").into_bytes() };
    match field {
        Field::Text(value) => value.clone().unwrap_or_else(undefined),
        Field::Bytes(value) => value.clone(),
        Field::Path(value) | Field::Executable(value) => {
            value.as_deref().map_or_else(undefined, |p| path_bytes(p).to_vec())
        }
        Field::BarePath(value) => path_bytes(value).to_vec(),
        Field::Int(value) => number(*value),
        Field::Priority(value) => value.map_or_else(undefined, number),
        Field::Time(value) => seconds(value.0),
        Field::Interval(value) => seconds(*value / 1000),
        Field::Bool(value) => {
            if *value {
                b"yes".to_vec()
            } else {
                b"no".to_vec()
            }
        }
        Field::Level(value) => level_name(*value).into(),
        Field::Facility(value) => number(value.0),
        Field::Core(value) => number(match value {
            CoreLimit::Inherited => 0,
            CoreLimit::Unlimited => -1,
            CoreLimit::Bytes(bytes) => *bytes,
        }),
        Field::Manager(value) => match value {
            ProcessManager::Static => b"static".to_vec(),
            ProcessManager::Dynamic => b"dynamic".to_vec(),
            ProcessManager::Ondemand => b"ondemand".to_vec(),
        },
        Field::Sigterm(Sigterm::Immediate) => b"immediate".to_vec(),
        Field::Sigterm(Sigterm::Graceful) => b"graceful".to_vec(),
        Field::Renewal(value) => {
            if *value {
                b"follow".to_vec()
            } else {
                b"keep".to_vec()
            }
        }
        Field::Startup(value) => match value {
            StartupUser::Pool => Vec::new(),
            StartupUser::Root => b"root".to_vec(),
        },
        Field::List(_) | Field::Env(_) | Field::Values(_) | Field::Flags(_) => Vec::new(),
    }
}

fn level_name(level: Option<Level>) -> &'static str {
    level.map_or("unknown value", Level::word)
}
