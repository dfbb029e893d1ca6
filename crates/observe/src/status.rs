//! The status page: one table of labels and values, written in the form the query asks for.
//!
//! Only request URI and query are escaped, as in php-fpm 8.2; the other texts come from configuration and server.

mod escape;
mod fields;
mod openmetrics;

use fields::{Value, pool_fields, worker_fields};

/// The words a query may hold, in the order in which they win; the last one asks for the workers too. A variable
/// whose name is the beginning of a word means that word.
pub const WORDS: [&str; 5] = ["html", "xml", "json", "openmetrics", "full"];

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/html`
    Html,
    /// `text/xml`
    Xml,
    /// `application/json`
    Json,
    /// What Prometheus reads; it has no part about workers.
    OpenMetrics,
    /// `label: value` lines.
    Text,
}

/// The numbers of a pool. Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: Vec<u8>,
    /// `static`, `dynamic` or `ondemand`.
    pub process_manager: &'static str,
    /// When it started.
    pub started: u64,
    /// Now.
    pub now: u64,
    /// Requests begun.
    pub accepted: u64,
    /// Connections that wait to be accepted.
    pub listen_queue: u32,
    /// The most that ever waited.
    pub max_listen_queue: u32,
    /// How many may wait.
    pub listen_queue_len: u32,
    /// Workers that wait for a request.
    pub idle: u32,
    /// Workers that have one.
    pub active: u32,
    /// The most that ever had one at the same time.
    pub max_active: u32,
    /// How often `pm.max_children` held a worker back.
    pub max_children_reached: u32,
    /// Requests that went to the slow log.
    pub slow_requests: u32,
}

/// A worker as the page shows it: of its last request if it is idle, else of the current one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worker {
    /// Process id.
    pub pid: u32,
    /// php-fpm's word for what it is doing.
    pub state: &'static str,
    /// When it was born.
    pub started: u64,
    /// Requests begun.
    pub requests: u64,
    /// Microseconds.
    pub duration_us: u64,
    /// REQUEST_METHOD.
    pub method: Vec<u8>,
    /// php-fpm's request URI, without the query.
    pub uri: Vec<u8>,
    /// QUERY_STRING.
    pub query: Vec<u8>,
    /// CONTENT_LENGTH.
    pub content_length: u64,
    /// User of HTTP Basic authentication.
    pub user: Vec<u8>,
    /// Path of the script.
    pub script: Vec<u8>,
    /// Percent of one CPU; 0 unless idle.
    pub cpu: f64,
    /// Bytes; 0 unless idle.
    pub memory: u64,
}

/// What the text depends on besides the numbers.
pub struct Locale<'a> {
    /// A time as `21/Nov/2026:12:00:00 +0000`.
    pub time: &'a dyn Fn(u64) -> Vec<u8>,
    /// PHP's default character set is UTF-8: then what is none of it is not shown in HTML and XML.
    pub utf8: bool,
}

impl Form {
    /// The form for the words of `WORDS` that are there, one bit each.
    pub fn of(words: u32) -> Form {
        let forms = [Form::Html, Form::Xml, Form::Json, Form::OpenMetrics];
        (0..).zip(forms).find(|(bit, _)| words >> bit & 1 == 1).map_or(Form::Text, |(_, form)| form)
    }

    /// Whether the words ask for the workers.
    pub fn is_full(words: u32) -> bool {
        words >> (WORDS.len() - 1) & 1 == 1
    }

    /// The header as it is given to PHP, which appends its character set to `text/…`.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Html => "Content-Type: text/html",
            Form::Xml => "Content-Type: text/xml",
            Form::Json => "Content-Type: application/json",
            Form::OpenMetrics => "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Text => "Content-Type: text/plain",
        }
    }

    /// The page; with `workers` if the query asks for them.
    pub fn page(self, pool: &Pool, workers: Option<&[Worker]>, locale: &Locale<'_>) -> Vec<u8> {
        let mut page = Vec::with_capacity(2048);
        match self {
            Form::OpenMetrics => openmetrics::write(pool, &mut page),
            Form::Html => html(pool, workers, locale, &mut page),
            Form::Xml => xml(pool, workers, locale, &mut page),
            Form::Json => json(pool, workers, locale, &mut page),
            Form::Text => text(pool, workers, locale, &mut page),
        }
        page
    }
}

fn text(pool: &Pool, workers: Option<&[Worker]>, locale: &Locale<'_>, page: &mut Vec<u8>) {
    let line = |label: &str, value: Value<'_>, page: &mut Vec<u8>| {
        page.extend(format!("{:<22}", format!("{label}:")).bytes());
        value.write(Form::Text, locale, page);
        page.push(b'\n');
    };
    for (label, value) in pool_fields(pool) {
        line(label, value, page);
    }
    for worker in workers.unwrap_or_default() {
        page.extend_from_slice(b"\n************************\n");
        for (label, value) in worker_fields(worker, pool.now) {
            line(if label == "request uri" { "request URI" } else { label }, value, page);
        }
    }
}

fn html(pool: &Pool, workers: Option<&[Worker]>, locale: &Locale<'_>, page: &mut Vec<u8>) {
    page.extend_from_slice(
        b"<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \
          \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n\
          <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n\
          <head><title>PHP-FPM Status Page</title></head>\n<body>\n<table>\n",
    );
    for (label, value) in pool_fields(pool) {
        page.extend(format!("<tr><th>{label}</th><td>").bytes());
        value.write(Form::Html, locale, page);
        page.extend_from_slice(b"</td></tr>\n");
    }
    page.extend_from_slice(b"</table>\n");
    if let Some(workers) = workers {
        page.extend_from_slice(b"<table border=\"1\">\n<tr>");
        for (label, _) in worker_fields(&Worker::default(), 0) {
            page.extend(format!("<th>{label}</th>").bytes());
        }
        page.extend_from_slice(b"</tr>\n");
        for worker in workers {
            page.extend_from_slice(b"<tr>");
            for (_, value) in worker_fields(worker, pool.now) {
                page.extend_from_slice(b"<td>");
                value.write(Form::Html, locale, page);
                page.extend_from_slice(b"</td>");
            }
            page.extend_from_slice(b"</tr>\n");
        }
        page.extend_from_slice(b"</table>");
    }
    page.extend_from_slice(b"</body></html>");
}

fn xml(pool: &Pool, workers: Option<&[Worker]>, locale: &Locale<'_>, page: &mut Vec<u8>) {
    let element = |label: &str, value: Value<'_>, page: &mut Vec<u8>| {
        let name = label.replace(' ', "-");
        page.extend(format!("<{name}>").bytes());
        value.write(Form::Xml, locale, page);
        page.extend(format!("</{name}>").bytes());
    };
    page.extend_from_slice(b"<?xml version=\"1.0\" ?>\n<status>\n");
    for (label, value) in pool_fields(pool) {
        element(label, value, page);
        page.push(b'\n');
    }
    if let Some(workers) = workers {
        page.extend_from_slice(b"<processes>\n");
        for worker in workers {
            page.extend_from_slice(b"<process>");
            for (label, value) in worker_fields(worker, pool.now) {
                element(label, value, page);
            }
            page.extend_from_slice(b"</process>\n");
        }
        page.extend_from_slice(b"</processes>\n");
    }
    page.extend_from_slice(b"</status>");
}

fn json(pool: &Pool, workers: Option<&[Worker]>, locale: &Locale<'_>, page: &mut Vec<u8>) {
    let object = |fields: &mut dyn Iterator<Item = (&str, Value<'_>)>, page: &mut Vec<u8>| {
        page.push(b'{');
        for (index, (label, value)) in fields.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            page.extend(format!("{comma}\"{label}\":").bytes());
            value.write(Form::Json, locale, page);
        }
    };
    object(&mut pool_fields(pool).into_iter(), page);
    if let Some(workers) = workers {
        page.extend_from_slice(b", \"processes\":[");
        for (index, worker) in workers.iter().enumerate() {
            if index > 0 {
                page.push(b',');
            }
            object(&mut worker_fields(worker, pool.now).into_iter(), page);
            page.push(b'}');
        }
        page.push(b']');
    }
    page.push(b'}');
}

#[cfg(test)]
mod tests;
