//! A real nginx in front of a server: own folder, own port, own pid and log files, stopped by pid.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::processes::{self, Process};
use crate::server::{Server, free_port};
use crate::site::{POOL_USER, Site};
use crate::wait;

/// How nginx is to talk to the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// `fastcgi_keep_conn` with so many kept connections, or none.
    pub keep: Option<usize>,
    /// More lines for the `server` block.
    pub server: String,
    /// More lines for the `location` of PHP scripts.
    pub location: String,
    /// Worker processes.
    pub workers: usize,
    /// The server's pool it passes requests to.
    pub pool: String,
}

impl Default for Options {
    fn default() -> Options {
        Options { keep: None, server: String::new(), location: String::new(), workers: 1, pool: "www".into() }
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    site: Site,
}

impl Nginx {
    /// Starts nginx before a server's pool and waits until it accepts connections.
    pub fn start(server: &Server, options: &Options) -> Nginx {
        let site = Site::create("fpm-ngx-");
        let port = free_port();
        let root = server.dir().join("www");
        let upstream = server.socket(&options.pool);
        site.write("nginx.conf", config(&site, port, &root, &upstream, options).as_bytes());
        let child = Command::new(executable())
            .arg("-c")
            .arg(site.path().join("nginx.conf"))
            .arg("-p")
            .arg(site.path())
            .env(processes::MARK, site.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(site.path().join("stderr")).expect("own folder"))
            .spawn()
            .expect("nginx starts: install the package nginx");
        let nginx = Nginx { child, port, site };
        wait::until(|| TcpStream::connect(("127.0.0.1", port)).ok())
            .unwrap_or_else(|| panic!("nginx does not listen:\n{}", nginx.log()));
        nginx
    }

    /// `http://127.0.0.1:PORT` followed by a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its error log, which is where FastCGI STDERR goes.
    pub fn log(&self) -> String {
        format!("{}{}", self.site.read("stderr"), self.site.read("error.log"))
    }
}

/// Where packages put it, which an ordinary user's PATH need not name; else wherever PATH finds it.
fn executable() -> &'static str {
    let known = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
    known.into_iter().find(|path| Path::new(path).exists()).unwrap_or("nginx")
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let processes = processes::tree(self.child.id() as i32);
        if let Some(master) = Process::of(self.child.id() as i32) {
            master.signal(Signal::SIGTERM);
        }
        let gone = wait::until(|| self.child.try_wait().ok().flatten());
        if gone.is_none() {
            processes.iter().for_each(|process| process.signal(Signal::SIGKILL));
        }
        let _ = self.child.wait();
    }
}

/// The parameters are those of nginx's own `fastcgi_params`, in its order.
fn config(site: &Site, port: u16, root: &Path, upstream: &Path, options: &Options) -> String {
    let dir = site.path().display();
    let user = if crate::binary::is_root() { format!("user {POOL_USER};") } else { String::new() };
    let keepalive = options.keep.map_or_else(String::new, |count| format!("keepalive {count};"));
    let keep_conn = if options.keep.is_some() { "fastcgi_keep_conn on;" } else { "" };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/tmp/{kind};\n"))
        .concat();
    let Options { server, location, workers, .. } = options;
    format!(
        "{user}
daemon off;
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {dir}/error.log info;
events {{ worker_connections 512; }}
http {{
access_log off;
client_max_body_size 0;
{temp}
types {{ text/plain txt; }}
upstream php {{ server unix:{upstream}; {keepalive} }}
server {{
listen 127.0.0.1:{port};
server_name example.test;
root {root};
index index.php;
{server}
location ~ [^/]\\.php(/|$) {{
fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
fastcgi_param PATH_INFO $fastcgi_path_info;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SCRIPT_NAME $fastcgi_script_name;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param DOCUMENT_URI $document_uri;
fastcgi_param DOCUMENT_ROOT $document_root;
fastcgi_param SERVER_PROTOCOL $server_protocol;
fastcgi_param REQUEST_SCHEME $scheme;
fastcgi_param HTTPS $https if_not_empty;
fastcgi_param GATEWAY_INTERFACE CGI/1.1;
fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
fastcgi_param REMOTE_ADDR $remote_addr;
fastcgi_param REMOTE_PORT $remote_port;
fastcgi_param SERVER_ADDR $server_addr;
fastcgi_param SERVER_PORT $server_port;
fastcgi_param SERVER_NAME $server_name;
fastcgi_param REDIRECT_STATUS 200;
fastcgi_pass php;
{keep_conn}
{location}
}}
}}
}}
",
        upstream = upstream.display(),
        root = root.display(),
    )
}
