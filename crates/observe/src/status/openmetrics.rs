//! The page for Prometheus, with php-fpm's names, types and explanations; even the order of the two comment lines of
//! `listen_queue_length` is its.

use super::Pool;

enum Type {
    Gauge,
    Counter,
}

pub(super) fn write(pool: &Pool, page: &mut Vec<u8>) {
    use Type::{Counter, Gauge};
    let up = [
        &b"Could pool "[..],
        &pool.name,
        b" using a ",
        pool.process_manager.as_bytes(),
        b" PM on PHP-FPM be reached?",
    ]
    .concat();
    metric(page, "up", Gauge, &up, 1);
    let since = pool.now.saturating_sub(pool.started);
    metric(page, "start_since", Counter, b"The number of seconds since FPM has started.", since);
    metric(
        page,
        "accepted_connections",
        Counter,
        b"The number of requests accepted by the pool.",
        pool.accepted,
    );
    let rows: [(&str, Type, &str, u32); 9] = [
        (
            "listen_queue",
            Gauge,
            "The number of requests in the queue of pending connections.",
            pool.listen_queue,
        ),
        (
            "max_listen_queue",
            Counter,
            "The maximum number of requests in the queue of pending connections since FPM has started.",
            pool.max_listen_queue,
        ),
        (
            "listen_queue_length",
            Gauge,
            "The size of the socket queue of pending connections.",
            pool.listen_queue_len,
        ),
        ("idle_processes", Gauge, "The number of idle processes.", pool.idle),
        ("active_processes", Gauge, "The number of active processes.", pool.active),
        (
            "total_processes",
            Gauge,
            "The number of idle + active processes.",
            pool.idle.saturating_add(pool.active),
        ),
        (
            "max_active_processes",
            Counter,
            "The maximum number of active processes since FPM has started.",
            pool.max_active,
        ),
        (
            "max_children_reached",
            Counter,
            "The number of times, the process limit has been reached, when pm tries to start more children (works \
             only for pm 'dynamic' and 'ondemand').",
            pool.max_children_reached,
        ),
        (
            "slow_requests",
            Counter,
            "The number of requests that exceeded your 'request_slowlog_timeout' value.",
            pool.slow_requests,
        ),
    ];
    for (name, kind, help, value) in rows {
        metric(page, name, kind, help.as_bytes(), value.into());
    }
    page.extend_from_slice(b"# EOF\n");
}

fn metric(page: &mut Vec<u8>, name: &str, kind: Type, help: &[u8], value: u64) {
    let kind = match kind {
        Type::Gauge => "gauge",
        Type::Counter => "counter",
    };
    let kind = format!("# TYPE phpfpm_{name} {kind}\n");
    let help = [format!("# HELP phpfpm_{name} ").as_bytes(), help, b"\n"].concat();
    let comments = if name == "listen_queue_length" {
        [kind.as_bytes(), &help].concat()
    } else {
        [&help[..], kind.as_bytes()].concat()
    };
    page.extend_from_slice(&comments);
    page.extend(format!("phpfpm_{name} {value}\n").bytes());
}
