//! One row of a table: a request with a name. The expected answer is not written down; php-fpm gives it.

use regex::Regex;

use crate::client::Request;
use crate::server::Server;

type Build = Box<dyn Fn(&Server, Request) -> Request + Send + Sync>;

/// A request to be sent to both servers.
pub struct Case {
    pub(crate) name: String,
    script: Option<String>,
    method: String,
    target: String,
    body: Vec<u8>,
    build: Vec<Build>,
    pub(crate) masks: Vec<Regex>,
    pub(crate) differs: Option<String>,
    pub(crate) times: usize,
}

impl Case {
    /// GET of a script written for this case alone.
    pub fn php(name: &str, code: &str) -> Case {
        let mut case =
            Case::get(name, &format!("/{}.php", name.replace(|letter: char| !letter.is_alphanumeric(), "-")));
        case.script = Some(code.to_owned());
        case
    }

    /// GET of a path of the document root, query included.
    pub fn get(name: &str, target: &str) -> Case {
        Case {
            name: name.into(),
            script: None,
            method: "GET".into(),
            target: target.into(),
            body: Vec::new(),
            build: Vec::new(),
            masks: Vec::new(),
            differs: None,
            times: 1,
        }
    }

    /// The query of the request.
    pub fn query(mut self, query: &str) -> Case {
        self.target = format!("{}?{query}", self.target.split('?').next().unwrap_or_default());
        self
    }

    /// Another method.
    pub fn method(mut self, method: &str) -> Case {
        self.method = method.into();
        self
    }

    /// A body with its type; the method becomes POST if it was GET.
    pub fn post(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Case {
        if self.method == "GET" {
            self.method = "POST".into();
        }
        self.body = body.as_ref().to_vec();
        self.param("CONTENT_TYPE", content_type)
    }

    /// One more FastCGI parameter, or another value; `{dir}` is filled in.
    pub fn param(self, name: &str, value: &str) -> Case {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.with(move |server, request| request.param(&name, server.fill(&value)))
    }

    /// Without a FastCGI parameter.
    pub fn without(self, name: &str) -> Case {
        let name = name.to_owned();
        self.with(move |_, request| request.without(&name))
    }

    /// Any other change of the request.
    pub fn with(mut self, change: impl Fn(&Server, Request) -> Request + Send + Sync + 'static) -> Case {
        self.build.push(Box::new(change));
        self
    }

    /// Masks what matches a regular expression in both replies.
    pub fn mask(mut self, pattern: &str) -> Case {
        self.masks.push(Regex::new(pattern).expect("pattern of a mask"));
        self
    }

    /// A difference that is known and intended: the case fails when it is gone.
    pub fn differs(mut self, reason: &str) -> Case {
        self.differs = Some(reason.into());
        self
    }

    /// Sends the request so many times, each on its own connection, and compares all replies.
    pub fn times(mut self, times: usize) -> Case {
        self.times = times;
        self
    }

    /// Writes the script, if it has one, and builds the request for this server.
    pub(crate) fn prepare(&self, server: &Server) -> Request {
        if let Some(code) = &self.script {
            let file = self.target.split('?').next().unwrap_or_default();
            server.write(&format!("www{file}"), code);
        }
        let request = Request::new(server, &self.method, &self.target, &self.body);
        self.build.iter().fold(request, |request, change| change(server, request))
    }
}
