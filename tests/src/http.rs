//! HTTP requests through nginx, one connection pool and cookie-free: a thin layer over `ureq` that keeps every status
//! and every header as it came, redirects not followed.

use std::time::Duration;

use ureq::Agent;
use ureq::http::{Method, Request};

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values in order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        crate::response::readable(&self.body)
    }

    /// `name=value` of every cookie set, ready for a `Cookie` header.
    pub fn cookies(&self) -> String {
        let set = self.headers.iter().filter(|(name, _)| name == "set-cookie");
        set.filter_map(|(_, value)| value.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// Status, headers and body as one text; the date masked.
    pub fn to_text(&self) -> String {
        let header = |(name, value): &(String, String)| match name.as_str() {
            "date" => "date: {time}\n".to_owned(),
            _ => format!("{name}: {value}\n"),
        };
        format!("{}\n{}\n{}", self.status, self.headers.iter().map(header).collect::<String>(), self.text())
    }
}

/// A client with its own connections.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Agent,
}

impl Default for Http {
    fn default() -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
            .allow_non_standard_methods(true)
            .build();
        Http { agent: config.into() }
    }
}

impl Http {
    /// GET.
    pub fn get(&self, url: &str) -> Answer {
        self.send("GET", url, &[], &[])
    }

    /// Any method with headers and body; panics when there is no HTTP answer at all.
    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, url, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    /// Any method with headers and body.
    pub fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if body.is_empty() {
            let request = request.body(()).expect("request");
            self.agent.run(self.agent.configure_request(request).build())?
        } else {
            self.agent.run(request.body(body).expect("request"))?
        };
        let value = |bytes: &[u8]| crate::response::readable(bytes);
        let headers = response
            .headers()
            .iter()
            .map(|(name, text)| (name.to_string(), value(text.as_bytes())))
            .collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        Ok(Answer { status, headers, body })
    }
}
