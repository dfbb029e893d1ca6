//! The same requests through a real nginx in front of either server.

use cornac_tests::http::Http;
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::{Pair, Setup};

fn through_nginx(options: &Options) {
    let setup = Setup::new()
        .script("vars.php", "<?php header('X-Odd: a=b; c'); ksort($_SERVER); foreach ($_SERVER as $k => $v) { if (!preg_match('/TIME|PORT/', $k)) echo $k, '=', json_encode($v), \"\\n\"; }")
        .script("post.php", "<?php var_dump($_POST, file_get_contents('php://input'));")
        .script("status.php", "<?php http_response_code((int)$_GET['code']); echo 'status ', $_GET['code'];")
        .script("flush.php", "<?php for ($i = 0; $i < 5; $i++) { echo str_repeat($i, 5000); flush(); }")
        .script("cookie.php", "<?php setcookie('a', 'b c'); setcookie('d', 'e'); var_dump($_COOKIE);")
        .script("index.php", "<?php echo 'index';")
        .script("plain.txt", "plain");
    let mut pair = Pair::start(&setup);
    let fronts = pair.servers().map(|server| Nginx::start(server, options));
    let http = Http::default();
    let url = |server: &cornac_tests::Server, path: &str| fronts[server.side as usize].url(path);
    for path in
        ["/vars.php?a=1&b[]=2", "/vars.php/path/info?x", "/", "/missing.php", "/flush.php", "/cookie.php"]
    {
        pair.same(path, |server| {
            http.send("GET", &url(server, path), &[("Cookie", "x=y; a=%20")], b"")
                .to_text()
                .replace(&fronts[server.side as usize].port().to_string(), "{front}")
        });
    }
    // nginx itself answers this one; its dates are those of the two files.
    let dates = |line: &&str| !line.starts_with("last-modified") && !line.starts_with("etag");
    pair.same("/plain.txt", |server| {
        let answer = http.get(&url(server, "/plain.txt")).to_text();
        answer.lines().filter(dates).collect::<Vec<_>>().join("\n")
    });
    for code in [200, 201, 204, 304, 404, 418, 500, 503] {
        let path = format!("/status.php?code={code}");
        pair.same(&path, |server| http.get(&url(server, &path)).to_text());
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    pair.same("post", |server| {
        http.send("POST", &url(server, "/post.php"), &form, b"a=1&b=%C3%A4").to_text()
    });
    pair.same("put", |server| http.send("PUT", &url(server, "/post.php"), &[], &[b'x'; 100_000]).to_text());
    pair.same("head", |server| http.send("HEAD", &url(server, "/vars.php"), &[], b"").to_text());
    drop(fronts);
    pair.finish();
}

#[test]
fn connection_per_request() {
    through_nginx(&Options::default());
}

#[test]
fn kept_connections() {
    through_nginx(&Options { keep: Some(1), ..Options::default() });
}

#[test]
fn unbuffered() {
    let location = "fastcgi_buffering off; fastcgi_request_buffering off;".into();
    through_nginx(&Options { location, ..Options::default() });
}
