//! Workers that crash, are killed, or end in the middle of a request: each costs the request it had, and nothing else.

use cornac_tests::client::{Reply, Request};
use cornac_tests::http::Http;
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::traffic::served;
use cornac_tests::{Manner, Server, Setup, Side, Signal, Traffic, wait};

use super::{line_with, say};

/// Name, code, and whether the worker can still answer.
const CRASHES: [(&str, &str, bool); 9] = [
    ("segfault", "echo 'held back'; posix_kill(getmypid(), 11); sleep(5);", true),
    ("null pointer", "FFI::cdef('char *strcpy(char *, char *);')->strcpy(null, null);", true),
    ("overflowed stack", "function f($x) { array_map('f', [$x]); } f(1);", true),
    (
        "overflowed stack of a fiber",
        "function f($x) { array_map('f', [$x]); } (new Fiber('f'))->start(1);",
        true,
    ),
    ("abort", "FFI::cdef('void abort(void);')->abort();", true),
    ("bus error", "posix_kill(getmypid(), 7); sleep(5);", true),
    ("killed, as by the OOM killer", "posix_kill(getmypid(), 9); sleep(5);", false),
    ("exit() in an extension", "FFI::cdef('void exit(int);')->exit(3);", true),
    ("_exit() in an extension", "FFI::cdef('void _exit(int);')->_exit(0);", false),
];
const ROUNDS: usize = 3;

fn setup() -> Setup {
    let setup = CRASHES.iter().zip(0..).fold(served(Setup::new()), |setup, ((_, code, _), number)| {
        setup.script(&format!("crash{number}.php"), &format!("<?php {code}"))
    });
    setup.www("pm.max_children = 4\nphp_admin_value[ffi.enable] = 1")
}

#[test]
fn a_crash_costs_its_own_request() {
    for side in [Side::Reference, Side::Subject] {
        let server = Server::start(side, &setup());
        let traffic = Traffic::begin(&server, Manner { clients: 3, ..Manner::default() });
        for _ in 0..ROUNDS {
            for ((name, _, answered), number) in CRASHES.iter().zip(0..) {
                traffic.go_on(&server, 20);
                let reply = server.get(&format!("/crash{number}.php?query"));
                assert_eq!(is_error_page(&reply), *answered && side == Side::Subject, "{side:?}: {name}");
                assert!(!reply.silent && is_error_page(&reply) != (reply == Reply::default()), "{reply:?}");
            }
        }
        traffic.go_on(&server, 20);
        let tally = traffic.end();
        say("crashing workers", side, &tally);
        tally.expect_none_lost(&server, 20 * ROUNDS * CRASHES.len());
        let log = server.log();
        assert_eq!(log.matches(" exited ").count(), ROUNDS * CRASHES.len(), "{log}");
        if side == Side::Subject {
            assert_eq!(log.matches("was at work when it ended").count(), ROUNDS * CRASHES.len(), "{log}");
            let line = line_with(&server, "crash6.php", ROUNDS);
            let request =
                format!("script '{}' (request: \"GET /crash6.php?query\"), 0.", server.www("crash6.php"));
            assert!(line.contains("WARNING: [pool www] child ") && line.contains(&request), "{line}");
        }
        server.stop();
    }
}

fn is_error_page(reply: &Reply) -> bool {
    reply.end.is_some()
        && reply.headers() == ["Status: 500 Internal Server Error", "Content-type: text/html; charset=UTF-8"]
        && reply.body().is_empty()
        && reply.stderr == b"The worker that ran this request crashed"
}

/// What has begun cannot be completed: an END_REQUEST would make half a page look like a whole one.
#[test]
fn half_an_answer_is_not_completed() {
    let setup = Setup::new()
        .script("half.php", "<?php echo 'half'; flush(); posix_kill(getmypid(), 11); sleep(5);")
        .script(
            "done.php",
            "<?php echo 'done'; fastcgi_finish_request(); posix_kill(getmypid(), 11); sleep(5);",
        )
        .script("child.php", "<?php $p = proc_open('kill -SEGV $$', [], $pipes); echo proc_close($p);");
    let server = Server::start(Side::Subject, &setup.www("php_flag[output_buffering] = off"));
    let half = server.get("/half.php");
    assert_eq!((half.body().as_str(), half.end), ("half", None));
    let done = server.get("/done.php");
    assert_eq!((done.body().as_str(), done.end), ("done", Some((0, 0))));
    // A program that the script runs has no last words.
    let child = server.get("/child.php");
    assert_eq!((child.status(), child.end), (200, Some((0, 0))), "{}", child.to_text());
    server.stop();
}

/// The answer arrives although the body has not been read, and on a kept connection as well.
#[test]
fn a_crash_with_a_body_unread_is_answered() {
    let server = Server::start(Side::Subject, &setup().www("listen = 127.0.0.1:{port}"));
    let address = ([127, 0, 0, 1], server.port(0)).into();
    for keep in [false, true] {
        let mut client = cornac_tests::Client::tcp(address).expect("connected");
        let mut request = Request::post(&server, "/crash0.php", "text/plain", &[b'x'; 200_000]);
        request.keep = keep;
        let reply = client.send(&request);
        assert!(is_error_page(&reply), "{}", reply.to_text());
        assert!(client.at_end());
    }
    server.stop();
}

#[test]
fn nginx_passes_the_error_on() {
    let server = Server::start(Side::Subject, &setup());
    let nginx = Nginx::start(&server, &Options::default());
    let status = |number: usize| {
        let url = nginx.url(&format!("/crash{number}.php"));
        Http::default().try_send("GET", &url, &[], b"").expect("an answer").status
    };
    assert_eq!([status(0), status(6)], [500, 502]);
    assert!(nginx.log().contains("The worker that ran this request crashed"), "{}", nginx.log());
    server.stop();
}

/// The others serve; a manager that has nobody else starts another one.
#[test]
fn a_stopped_worker_holds_nobody_up() {
    let dynamic = "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2";
    for manager in ["", dynamic, "pm = ondemand"] {
        let server = Server::start(Side::Subject, &setup().www(manager));
        // One that waits in accept: what the kernel has given to a stopped one waits with it.
        let first = wait::until(|| {
            server.get("/traffic.php?n=1&us=0");
            server.workers("www").first().copied()
        });
        let stopped = first.unwrap_or_else(|| panic!("no worker\n{}", server.log()));
        stopped.signal(Signal::SIGSTOP);
        server.wait_log(&format!("child {} is stopped (SIGSTOP) and serves nobody", stopped.pid));
        let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
        traffic.go_on(&server, 200);
        stopped.signal(Signal::SIGCONT);
        server.wait_log(&format!("child {} goes on", stopped.pid));
        let tally = traffic.end();
        say("a stopped worker", server.side, &tally);
        tally.expect_none_lost(&server, 200);
        server.stop();
    }
}

/// It cannot finish, so it is killed when its time is over; the others' requests are not touched.
#[test]
fn a_stopped_worker_does_not_hold_up_a_stop_or_a_reload() {
    for (signal, directives) in [
        (Signal::SIGQUIT, "process_control_timeout = 1"),
        (Signal::SIGTERM, ""),
        (Signal::SIGUSR2, "process_control_timeout = 1"),
    ] {
        let server = Server::start(Side::Subject, &setup().global(directives));
        let stopped = server.workers("www")[0];
        stopped.signal(Signal::SIGSTOP);
        server.wait_log("is stopped (SIGSTOP)");
        server.signal(signal);
        if signal == Signal::SIGUSR2 {
            server.wait_ready_times(2);
            server.get("/traffic.php?n=1&us=0");
            let gone = wait::until(|| (!stopped.lives()).then_some(()));
            assert!(gone.is_some(), "{}", server.log());
            server.signal(Signal::SIGTERM);
        }
        server.expect_gone();
    }
    let server = Server::start(Side::Subject, &setup().www("request_terminate_timeout = 1"));
    let mut client = server.connect();
    client.write(&Request::get(&server, "/traffic.php?n=1&us=600000").encode()).expect("sent");
    let whole = wait::until(|| Some(server.workers("www")).filter(|workers| workers.len() == 4));
    whole.expect("four workers").iter().for_each(|worker| worker.signal(Signal::SIGSTOP));
    server.wait_log("sec), killing");
    assert_eq!(client.read_reply(), Reply::default(), "{}", server.log());
    assert_eq!(server.get("/traffic.php?n=1&us=0").status(), 200);
    server.stop();
}
