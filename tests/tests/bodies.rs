//! Request bodies: php://input, multipart uploads and their limits, methods other than POST, bodies from a file.

use cornac_tests::client::record;
use cornac_tests::{Case, Pair, Request, Setup};

const MULTIPART: &str = "multipart/form-data; boundary=XX";
const FILES: &str = "<?php foreach ($_FILES as $name => $file) { array_walk_recursive($file, function (&$v, $k) { if (is_string($v) && str_contains($v, '/php')) { $v = 'temporary, ' . filesize($v) . ' bytes, uploaded ' . var_export(is_uploaded_file($v), true) . ' ' . md5_file($v); } }); var_dump($name, $file); } var_dump($_POST, strlen(file_get_contents('php://input')));";

/// A multipart body of (disposition, further part headers, content).
fn multipart(parts: &[(&str, &str, &str)]) -> String {
    let part = |(disposition, headers, content): &(&str, &str, &str)| {
        format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n{headers}\r\n{content}\r\n")
    };
    format!("{}--XX--\r\n", parts.iter().map(part).collect::<String>())
}

#[test]
fn input() {
    let dump = "<?php var_dump($_SERVER['CONTENT_LENGTH'], md5(file_get_contents('php://input')), strlen(file_get_contents('php://input')), $_POST);";
    let mut pair =
        Pair::start(&Setup::new().script("dump.php", dump).script("ignore.php", "<?php echo 'ignored';"));
    let dump = |name: &str| Case::get(name, "/dump.php");
    pair.cases([
        dump("json").post("application/json", "{\"a\": [1, 2]}"),
        dump("put").method("PUT").post("text/plain", "content"),
        dump("patch").method("PATCH").post("application/json-patch+json", "[]"),
        dump("delete").method("DELETE").post("text/plain", "content"),
        dump("options").method("OPTIONS").post("text/plain", "content"),
        dump("get with body").with(|_, mut request| {
            request.body = b"content".to_vec();
            request.param("CONTENT_LENGTH", "7")
        }),
        dump("binary").post("application/octet-stream", (0..=255).collect::<Vec<u8>>()),
        dump("one megabyte").post("application/octet-stream", vec![b'x'; 1 << 20]),
        dump("65528 bytes").post("application/octet-stream", vec![b'x'; 65_528]),
        dump("65529 bytes").post("application/octet-stream", vec![b'x'; 65_529]),
        dump("length zero").post("text/plain", "content").param("CONTENT_LENGTH", "0"),
        dump("length too small").post("text/plain", "content").param("CONTENT_LENGTH", "3"),
        dump("length no number").post("text/plain", "content").param("CONTENT_LENGTH", "abc"),
        dump("length with rest").post("text/plain", "content").param("CONTENT_LENGTH", "4abc"),
        dump("no length").post("text/plain", "content").without("CONTENT_LENGTH"),
        Case::get("body not read", "/ignore.php").post("text/plain", vec![b'x'; 300_000]),
        Case::get("form not read", "/ignore.php").post("application/x-www-form-urlencoded", "a=1"),
        Case::php("read in pieces", "<?php $h = fopen('php://input', 'r'); while (($s = fread($h, 7)) !== '') echo strlen($s), $s, '|'; rewind($h); echo stream_get_contents($h);").post("text/plain", "a long enough body"),
        Case::php("read after output", "<?php echo str_repeat('o', 20000); flush(); echo md5(file_get_contents('php://input'));").post("text/plain", vec![b'x'; 200_000]).mask("o+"),
    ]);
    pair.same("length too large, then end of file", |server| {
        let request =
            Request::post(server, "/dump.php", "text/plain", b"content").param("CONTENT_LENGTH", "30");
        let mut client = server.connect();
        client.write(&request.encode()).expect("sent");
        client.end_writing();
        client.read_reply().to_text()
    });
    pair.same("body in many small records", |server| {
        let request = Request::post(server, "/dump.php", "text/plain", b"");
        let mut bytes = request.param("CONTENT_LENGTH", "26").encode();
        bytes.truncate(bytes.len() - 8);
        (b'a'..=b'z').for_each(|letter| bytes.extend(record(5, &[letter])));
        bytes.extend(record(5, b""));
        let mut client = server.connect();
        client.write(&bytes).expect("sent");
        client.read_reply().to_text()
    });
    pair.finish();
}

#[test]
fn uploads() {
    let setup = Setup::new()
        .www("php_admin_value[upload_tmp_dir] = {dir}/tmp\nphp_value[upload_max_filesize] = 2K\nphp_value[post_max_size] = 8K\nphp_value[max_file_uploads] = 3")
        .script("files.php", FILES);
    let mut pair = Pair::start(&setup);
    let upload = |name: &str, parts: &[(&str, &str, &str)]| {
        Case::get(name, "/files.php").post(MULTIPART, multipart(parts))
    };
    let text = "Content-Type: text/plain\r\n";
    let (large, larger) = ("x".repeat(3000), "x".repeat(9000));
    pair.cases([
        upload("single", &[("name=\"f\"; filename=\"a.txt\"", text, "content")]),
        upload("file and fields", &[("name=\"a\"", "", "1"), ("name=\"f\"; filename=\"a.txt\"", text, "c"), ("name=\"b[]\"", "", "2")]),
        upload("several", &[("name=\"f\"; filename=\"a\"", text, "1"), ("name=\"g\"; filename=\"b\"", text, "22")]),
        upload("array names", &[("name=\"f[]\"; filename=\"a\"", text, "1"), ("name=\"f[]\"; filename=\"b\"", text, "22")]),
        upload("nested names", &[("name=\"f[x][y]\"; filename=\"a\"", text, "1"), ("name=\"f[x][z]\"; filename=\"b\"", text, "2")]),
        upload("empty file", &[("name=\"f\"; filename=\"a\"", text, "")]),
        upload("no file chosen", &[("name=\"f\"; filename=\"\"", text, "")]),
        upload("over upload_max_filesize", &[("name=\"f\"; filename=\"a\"", text, &large), ("name=\"a\"", "", "1")]),
        upload("over MAX_FILE_SIZE", &[("name=\"MAX_FILE_SIZE\"", "", "5"), ("name=\"f\"; filename=\"a\"", text, "longer than five")]),
        upload("over post_max_size", &[("name=\"f\"; filename=\"a\"", text, &larger)]),
        upload("over max_file_uploads", &[1, 2, 3, 4, 5].map(|_| ("name=\"f[]\"; filename=\"a\"", text, "1"))),
        upload("path in the name", &[("name=\"f\"; filename=\"../../C:\\x\\a b.txt\"", text, "1")]),
        upload("quotes in the name", &[("name=\"f\"; filename=\"a\\\"b'.txt\"", text, "1")]),
        upload("full_path", &[("name=\"f\"; filename=\"dir/sub/a.txt\"", text, "1")]),
        upload("no type", &[("name=\"f\"; filename=\"a\"", "", "1")]),
        upload("unquoted", &[("name=f; filename=a", text, "1")]),
        upload("no name", &[("filename=\"a\"", text, "1")]),
        upload("boundary inside", &[("name=\"f\"; filename=\"a\"", text, "--X\r\n--XY\r\nXX")]),
        Case::get("no final boundary", "/files.php").post(MULTIPART, "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue"),
        Case::get("no boundary", "/files.php").post("multipart/form-data", "--XX\r\n"),
        Case::get("quoted boundary", "/files.php").post("multipart/form-data; boundary=\"XX\"", multipart(&[("name=\"a\"", "", "1")])),
        Case::get("not multipart at all", "/files.php").post(MULTIPART, "a=1"),
        Case::get("form over post_max_size", "/files.php").post("application/x-www-form-urlencoded", format!("a={larger}")),
        Case::php("move_uploaded_file", "<?php $to = dirname(__DIR__) . '/tmp/moved'; var_dump(move_uploaded_file($_FILES['f']['tmp_name'], $to), file_get_contents($to), move_uploaded_file(__FILE__, $to)); unlink($to);")
            .post(MULTIPART, multipart(&[("name=\"f\"; filename=\"a\"", text, "content")])),
        Case::php("temporary files are removed", "<?php $left = glob(dirname(__DIR__) . '/tmp/php*'); var_dump(count($left));"),
        Case::php("upload by PUT is not parsed", FILES).method("PUT").post(MULTIPART, multipart(&[("name=\"f\"; filename=\"a\"", text, "1")])),
    ]);
    pair.finish();
}

#[test]
fn body_file() {
    let setup = Setup::new()
        .file("tmp/body", "body from a file")
        .script("input.php", "<?php var_dump(file_get_contents('php://input'), $_POST);");
    let mut pair = Pair::start(&setup);
    let case = |name: &str, file: &str| {
        Case::get(name, "/input.php")
            .post("text/plain", "body from the stream")
            .param("REQUEST_BODY_FILE", file)
    };
    pair.cases([
        case("whole file", "{dir}/tmp/body").param("CONTENT_LENGTH", "16"),
        case("length shorter than the file", "{dir}/tmp/body").param("CONTENT_LENGTH", "4"),
        case("length longer than the file", "{dir}/tmp/body").param("CONTENT_LENGTH", "100"),
        case("missing file", "{dir}/tmp/none"),
        case("empty name", ""),
        case("form", "{dir}/tmp/body")
            .param("CONTENT_TYPE", "application/x-www-form-urlencoded")
            .param("CONTENT_LENGTH", "16"),
    ]);
    pair.same("the next request has its own body", |server| {
        let request = Request::post(server, "/input.php", "text/plain", b"next");
        server.send(&request).to_text()
    });
    pair.finish();
}

#[test]
fn body_not_parsed_when_switched_off() {
    let mut pair = Pair::start(&Setup::new().www("php_flag[enable_post_data_reading] = off"));
    pair.cases([
        Case::php("form", "<?php var_dump($_POST, file_get_contents('php://input'));")
            .post("application/x-www-form-urlencoded", "a=1"),
        Case::php("multipart", "<?php var_dump($_POST, $_FILES, file_get_contents('php://input'));")
            .post(MULTIPART, multipart(&[("name=\"a\"", "", "1")])),
    ]);
    pair.finish();
}
