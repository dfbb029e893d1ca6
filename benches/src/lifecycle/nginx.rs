//! A real nginx in front of a pool, and clients that ask it over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::address::Address;
use crate::server::end_with_this_process;

/// Connections that nginx keeps, and clients that ask it at the same time.
pub(crate) const KEPT: usize = 64;

/// A running nginx with one worker. It keeps its connections to the pool for requests below `/kept/`, and opens new
/// ones for those below `/new/`.
pub(crate) struct Nginx {
    address: SocketAddrV4,
    child: Child,
}

impl Nginx {
    /// Starts it in front of a pool's unix socket and waits until it answers.
    pub(crate) fn start(dir: &Path, label: &str, pool: &Path, root: &Path) -> Result<Nginx, String> {
        let Address::Tcp(address) = Address::free_port()? else { return Err("no port".to_owned()) };
        let dir = dir.join(label);
        fs::create_dir(&dir).map_err(|error| error.to_string())?;
        let path = dir.join("nginx.conf");
        fs::write(&path, configuration(&dir, address, pool, root)).map_err(|error| error.to_string())?;
        let program =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].iter().map(PathBuf::from).find(|path| path.exists());
        let mut command = Command::new(program.unwrap_or_else(|| "nginx".into()));
        command.arg("-p").arg(&dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        end_with_this_process(&mut command);
        let child = command.spawn().map_err(|error| format!("nginx: {error}"))?;
        let nginx = Nginx { address, child };
        for _ in 0..1000 {
            if TcpStream::connect(address).is_ok() {
                return Ok(nginx);
            }
            sleep(Duration::from_millis(5));
        }
        Err("nginx does not listen".to_owned())
    }

    /// One request. `Ok` holds whether it was answered with status 200 and these bytes.
    pub(crate) fn ask(&self, uri: &str, body: &[u8]) -> bool {
        let exchange = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(15)))?;
            write!(stream, "GET {uri} HTTP/1.0\r\nHost: example.test\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        exchange().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 ") && ends_with_body(&answer, body))
    }

    /// So many clients, each asking again and again with a pause, while `work` runs. How many answers were right and
    /// how many were not.
    pub(crate) fn under_load<T>(
        &self,
        clients: usize,
        pause: Duration,
        (uri, body): (&str, &[u8]),
        work: impl FnOnce() -> T,
    ) -> (T, [u64; 2]) {
        let stop = AtomicBool::new(false);
        let counts = [AtomicU64::new(0), AtomicU64::new(0)];
        let result = std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let right = self.ask(uri, body);
                        counts[usize::from(!right)].fetch_add(1, Ordering::Relaxed);
                        sleep(pause);
                    }
                });
            }
            let result = work();
            stop.store(true, Ordering::Relaxed);
            result
        });
        (result, counts.map(AtomicU64::into_inner))
    }
}

fn ends_with_body(answer: &[u8], body: &[u8]) -> bool {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    end.is_some_and(|end| &answer[end + 4..] == body)
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Connections to a listening unix socket, accepted or still in its queue.
pub(crate) fn connections_to(socket: &Path) -> usize {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let suffix = format!(" {}", socket.display());
    // Of a listening socket the flags have a bit (__SO_ACCEPTCON), of its connections none.
    text.lines()
        .filter(|line| line.ends_with(&suffix) && line.split_whitespace().nth(3) == Some("00000000"))
        .count()
}

fn configuration(dir: &Path, address: SocketAddrV4, pool: &Path, root: &Path) -> String {
    let location = |name: &str, upstream: &str, keep: &str| {
        format!(
            "location /{name}/ {{
rewrite ^/{name}(/.*)$ $1 break;
fastcgi_pass {upstream};
fastcgi_keep_conn {keep};
fastcgi_param SCRIPT_FILENAME {root}$fastcgi_script_name;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SCRIPT_NAME $fastcgi_script_name;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param DOCUMENT_ROOT {root};
fastcgi_param SERVER_PROTOCOL $server_protocol;
}}
",
            root = root.display()
        )
    };
    let kept = location("kept", "kept", "on");
    let new = location("new", "new", "off");
    let (dir, pool) = (dir.display(), pool.display());
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
access_log off;
client_body_temp_path {dir}/body;
fastcgi_temp_path {dir}/fastcgi;
proxy_temp_path {dir}/proxy;
scgi_temp_path {dir}/scgi;
uwsgi_temp_path {dir}/uwsgi;
fastcgi_read_timeout 4s;
upstream kept {{ server unix:{pool}; keepalive {KEPT}; keepalive_timeout 600s; }}
upstream new {{ server unix:{pool}; }}
server {{
listen {address};
{kept}{new}}}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_body_counts() {
        assert!(ends_with_body(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nyes", b"yes"));
        assert!(!ends_with_body(b"HTTP/1.1 200 OK\r\n\r\nye", b"yes"));
        assert!(!ends_with_body(b"HTTP/1.1 200 OK\r\n", b""));
    }
}
