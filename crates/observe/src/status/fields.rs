//! Labels and values of the status page, in php-fpm's order. The labels are those of JSON; the other forms derive
//! theirs from them.

use super::{Form, Locale, Pool, Worker, escape};

/// A value that each form shows in its own way.
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    Number(u64),
    /// Seconds since the epoch.
    Time(u64),
    Percent(f64),
    /// URI and query of a request.
    Target(&'a [u8], &'a [u8]),
}

pub(super) fn pool_fields(pool: &Pool) -> [(&'static str, Value<'_>); 14] {
    use Value::{Number, Text, Time};
    let number = |count: u32| Number(count.into());
    [
        ("pool", Text(&pool.name)),
        ("process manager", Text(pool.process_manager.as_bytes())),
        ("start time", Time(pool.started)),
        ("start since", Number(pool.now.saturating_sub(pool.started))),
        ("accepted conn", Number(pool.accepted)),
        ("listen queue", number(pool.listen_queue)),
        ("max listen queue", number(pool.max_listen_queue)),
        ("listen queue len", number(pool.listen_queue_len)),
        ("idle processes", number(pool.idle)),
        ("active processes", number(pool.active)),
        ("total processes", Number(u64::from(pool.idle) + u64::from(pool.active))),
        ("max active processes", number(pool.max_active)),
        ("max children reached", number(pool.max_children_reached)),
        ("slow requests", number(pool.slow_requests)),
    ]
}

pub(super) fn worker_fields(worker: &Worker, now: u64) -> [(&'static str, Value<'_>); 13] {
    use Value::{Number, Percent, Target, Text, Time};
    [
        ("pid", Number(worker.pid.into())),
        ("state", Text(worker.state.as_bytes())),
        ("start time", Time(worker.started)),
        ("start since", Number(now.saturating_sub(worker.started))),
        ("requests", Number(worker.requests)),
        ("request duration", Number(worker.duration_us)),
        ("request method", Text(or_dash(&worker.method))),
        ("request uri", Target(&worker.uri, &worker.query)),
        ("content length", Number(worker.content_length)),
        ("user", Text(or_dash(&worker.user))),
        ("script", Text(or_dash(&worker.script))),
        ("last request cpu", Percent(worker.cpu)),
        ("last request memory", Number(worker.memory)),
    ]
}

/// php-fpm shows a dash for what is not known.
pub(super) fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

impl Value<'_> {
    pub(super) fn write(&self, form: Form, locale: &Locale<'_>, page: &mut Vec<u8>) {
        let quote: &[u8] = if form == Form::Json { b"\"" } else { b"" };
        match *self {
            Value::Text(text) => page.extend_from_slice(&[quote, text, quote].concat()),
            Value::Number(number) => page.extend(number.to_string().bytes()),
            Value::Percent(percent) => page.extend(format!("{percent:.2}").bytes()),
            Value::Time(seconds) => match form {
                Form::Json | Form::Xml => page.extend(seconds.to_string().bytes()),
                _ => page.extend((locale.time)(seconds)),
            },
            Value::Target(uri, query) => {
                page.extend_from_slice(quote);
                if uri.is_empty() {
                    page.push(b'-');
                }
                escape::write(form, uri, locale.utf8, page);
                if !query.is_empty() {
                    page.push(b'?');
                    escape::write(form, query, locale.utf8, page);
                }
                page.extend_from_slice(quote);
            }
        }
    }
}
