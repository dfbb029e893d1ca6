//! The forms as a whole. What php-fpm itself prints is compared end to end.

use super::*;

fn pool() -> Pool {
    Pool {
        name: b"www".to_vec(),
        process_manager: "dynamic",
        started: 100,
        now: 102,
        accepted: 2,
        listen_queue: 3,
        max_listen_queue: 4,
        listen_queue_len: 511,
        idle: 1,
        active: 2,
        max_active: 2,
        max_children_reached: 5,
        slow_requests: 6,
    }
}

fn worker() -> Worker {
    Worker {
        pid: 9,
        state: "Idle",
        started: 101,
        requests: 2,
        duration_us: 253,
        method: b"GET".to_vec(),
        uri: b"/a\"<b>".to_vec(),
        query: b"x=&y".to_vec(),
        user: b"joe".to_vec(),
        cpu: 12.345,
        memory: 2048,
        ..Worker::default()
    }
}

fn page(form: Form, workers: Option<&[Worker]>) -> String {
    let time = |seconds: u64| format!("T{seconds}").into_bytes();
    String::from_utf8(form.page(&pool(), workers, &Locale { time: &time, utf8: true })).unwrap()
}

#[test]
fn words_have_an_order() {
    let check = |words: u32, form: Form, full: bool| {
        assert_eq!((Form::of(words), Form::is_full(words)), (form, full), "{words:b}");
    };
    check(0, Form::Text, false);
    check(0b10000, Form::Text, true);
    check(0b11111, Form::Html, true);
    check(0b01110, Form::Xml, false);
    check(0b01100, Form::Json, false);
    check(0b01000, Form::OpenMetrics, false);
}

#[test]
fn text_is_padded() {
    let text = page(Form::Text, Some(&[worker(), Worker::default()]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "pool:                 www");
    assert_eq!(lines[2], "start time:           T100");
    assert_eq!(lines[11], "max active processes: 2");
    assert_eq!(lines[14..16], ["", "************************"]);
    assert!(lines.contains(&"request URI:          /a\"<b>?x=&y"));
    assert!(lines.contains(&"last request cpu:     12.35") || lines.contains(&"last request cpu:     12.34"));
    assert!(text.ends_with("last request memory:  0\n"));
    assert!(!page(Form::Text, None).contains('*'));
}

#[test]
fn json_can_be_read_as_php_fpm_writes_it() {
    assert_eq!(
        page(Form::Json, None),
        "{\"pool\":\"www\",\"process manager\":\"dynamic\",\"start time\":100,\"start since\":2,\"accepted conn\":2,\
         \"listen queue\":3,\"max listen queue\":4,\"listen queue len\":511,\"idle processes\":1,\
         \"active processes\":2,\"total processes\":3,\"max active processes\":2,\"max children reached\":5,\
         \"slow requests\":6}"
    );
    let full = page(Form::Json, Some(&[worker(), Worker::default()]));
    assert!(
        full.contains(
            "\"slow requests\":6, \"processes\":[{\"pid\":9,\"state\":\"Idle\",\"start time\":101,"
        )
    );
    assert!(full.contains("\"request uri\":\"\\/a\\\"<b>?x=&y\",\"content length\":0,\"user\":\"joe\","));
    assert!(full.contains("},{\"pid\":0,") && full.ends_with("\"last request memory\":0}]}"));
    assert!(page(Form::Json, Some(&[])).ends_with(", \"processes\":[]}"));
}

#[test]
fn markup_is_escaped_and_closed() {
    let full = page(Form::Xml, Some(&[worker()]));
    assert!(full.contains("<process-manager>dynamic</process-manager>\n<start-time>100</start-time>\n"));
    assert!(full.contains("<request-uri>/a&quot;&lt;b&gt;?x=&amp;y</request-uri>"));
    assert!(full.ends_with("</process>\n</processes>\n</status>"));
    assert!(page(Form::Xml, None).ends_with("</slow-requests>\n</status>"));
    let html = page(Form::Html, Some(&[worker()]));
    assert!(html.contains("<tr><th>start time</th><td>T100</td></tr>\n"));
    assert!(html.contains("<td>9</td><td>Idle</td><td>T101</td><td>1</td>"));
    assert!(html.ends_with("</tr>\n</table></body></html>"));
    assert!(page(Form::Html, None).ends_with("</table>\n</body></html>"));
}

#[test]
fn metrics_have_no_workers() {
    let metrics = page(Form::OpenMetrics, None);
    assert_eq!(metrics, page(Form::OpenMetrics, Some(&[worker()])));
    assert!(
        metrics.starts_with(
            "# HELP phpfpm_up Could pool www using a dynamic PM on PHP-FPM be reached?\n# TYPE "
        )
    );
    assert!(
        metrics
            .contains("# TYPE phpfpm_listen_queue_length gauge\n# HELP phpfpm_listen_queue_length The size")
    );
    assert!(metrics.ends_with("phpfpm_slow_requests 6\n# EOF\n"));
    assert_eq!(metrics.lines().count(), 12 * 3 + 1);
}
