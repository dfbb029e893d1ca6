//! A small browser for the wiki: cookies, redirects, forms filled in as the page sent them, file uploads. It keeps every
//! answer, with tokens and times masked, for the comparison of the two servers. It runs no script.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use cornac_tests::Server;
use cornac_tests::http::{Answer, Http};
use cornac_tests::nginx::Nginx;
use regex::Regex;

/// Keeps cookies, follows redirects, and writes down every answer with tokens and times masked.
pub(crate) struct Browser {
    http: Http,
    base: String,
    /// The server's folder.
    pub(crate) root: PathBuf,
    cookies: RefCell<BTreeMap<String, String>>,
    /// Name and answer of every step so far.
    pub(crate) log: RefCell<Vec<(String, String)>>,
    masks: Vec<(Regex, &'static str)>,
}

impl Browser {
    pub(crate) fn new(server: &Server, nginx: &Nginx) -> Browser {
        let masks = [
            (r"127\.0\.0\.1(:|%3A)\d+", "{host}"),
            (r#"name="sectok" value="\w+""#, "{token}"),
            (r"sectok=\w+", "{token}"),
            (r"DW[0-9a-f]{32}=[^;]+", "{login}"),
            (r"DokuWiki=\w+", "{session}"),
            (r"\d{4}/\d\d/\d\d \d\d:\d\d(:\d\d)?", "{time}"),
            (r"\w{3}, \d\d[ -]\w{3}[ -]\d{4} \d\d:\d\d:\d\d GMT", "{time}"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+\d\d:?\d\d", "{time}"),
            (r#"(etag: "?)[0-9a-f]{32}"#, "$1{tag}"),
            (r"\b1[789]\d{8}\b", "{time}"),
            (r"(tseed|tok)=[0-9a-f]+", "$1={seed}"),
            (r"\d+ (second|minute)s? ago", "{time}"),
        ];
        let masks = masks.map(|(pattern, with)| (Regex::new(pattern).expect("pattern"), with)).into();
        let root = server.dir().to_owned();
        let (cookies, log) = (RefCell::default(), RefCell::default());
        Browser { http: Http::default(), base: nginx.url(""), root, cookies, log, masks }
    }

    /// One exchange, without following a redirect.
    pub(crate) fn request(
        &self,
        step: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let jar = self.cookies.borrow();
        let cookie = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        drop(jar);
        let mut headers = headers.to_vec();
        headers.push(("Cookie", &cookie));
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let answer = self.http.send(method, &url, &headers, body);
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            self.cookies.borrow_mut().insert(name.into(), value.into());
        }
        // One tag a line, so that a difference stands alone in the report.
        let text = format!("{method} {path}\n{}", answer.to_text().replace("><", ">\n<"));
        let text = self.masks.iter().fold(text, |text, (mask, with)| mask.replace_all(&text, *with).into());
        self.log.borrow_mut().push((step.to_owned(), text));
        answer
    }

    /// As `request`, then GET of where a redirect leads; the page as text.
    fn follow(
        &self,
        step: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let mut answer = self.request(step, method, path, headers, body);
        while (300..304).contains(&answer.status) {
            let target = answer.header("location").expect("a redirect has a target").to_owned();
            answer = self.request(&format!("{step}, redirected"), "GET", &target, &[], b"");
        }
        (answer.status, answer.text())
    }

    pub(crate) fn get(&self, step: &str, path: &str) -> String {
        let (status, text) = self.follow(step, "GET", path, &[], b"");
        assert_eq!(status, 200, "{step}: {path}\n{}", article(&text));
        text
    }

    pub(crate) fn submit(&self, step: &str, form: &Form) -> String {
        let pairs = form.fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.follow(step, "POST", &form.action, &headers, body.as_bytes()).1
    }

    pub(crate) fn upload(
        &self,
        step: &str,
        form: &Form,
        field: &str,
        (name, kind): (&str, &str),
        file: &[u8],
    ) -> String {
        let mut body = Vec::new();
        let mut part = |head: String, content: &[u8]| {
            body.extend(format!("--frontier\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
            body.extend(content);
            body.extend(b"\r\n");
        };
        for (name, value) in &form.fields {
            part(format!("name=\"{name}\""), value.as_bytes());
        }
        part(format!("name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: {kind}"), file);
        body.extend(b"--frontier--\r\n");
        let headers = [("Content-Type", "multipart/form-data; boundary=frontier")];
        self.follow(step, "POST", &form.action, &headers, &body).1
    }
}

/// A form as the page sent it: where it goes, and what it would send untouched.
#[derive(Clone)]
pub(crate) struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn find(page: &str, id: &str) -> Form {
        let start = page.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no form {id} in\n{page}"));
        let start = page[..start].rfind("<form").expect("start of the form");
        let form = &page[start..start + page[start..].find("</form>").expect("end of the form")];
        let attribute = |tag: &str, name: &str| {
            let pattern = Regex::new(&format!(r#"\s{name}="([^"]*)""#)).expect("pattern");
            pattern.captures(tag).map(|found| unescape(&found[1]))
        };
        let input = Regex::new(r#"<input\s[^>]*type="(?:hidden|text)"[^>]*>|<input\s[^>]*name="date"[^>]*>"#)
            .expect("pattern");
        let fields = input.find_iter(form).filter_map(|tag| {
            Some((attribute(tag.as_str(), "name")?, attribute(tag.as_str(), "value").unwrap_or_default()))
        });
        Form { action: attribute(form, "action").expect("where the form goes"), fields: fields.collect() }
    }

    pub(crate) fn fill(mut self, name: &str, value: &str) -> Form {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn press(self, button: &str) -> Form {
        self.fill(button, "1")
    }
}

/// The part of a page that is the wiki's text, for the message of a failed test.
pub(crate) fn article(page: &str) -> &str {
    let start = page.find("<!-- wikipage start -->").unwrap_or(0);
    &page[start..page.find("<!-- wikipage stop -->").unwrap_or(page.len())]
}

pub(crate) fn unescape(text: &str) -> String {
    let table = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#039;", "'"), ("&amp;", "&")];
    table.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
