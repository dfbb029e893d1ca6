//! The numbers of the status page under load: who is idle, who is active, who waits. php-fpm's are compared where it
//! can know them; what it cannot know is asked of cornac alone.

use std::fs;
use std::thread;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::{Client, Pair, Request, Server, Setup, Side, skip_unless_root, wait};
use nix::sys::signal::Signal;

/// Runs until its file is there.
const SLOW: &str = "<?php echo 'begun'; flush(); while (!file_exists(dirname(__DIR__) . '/tmp/' . $_GET['until'])) usleep(2000); echo ' ended';";

fn setup(children: u32, lines: &str) -> Setup {
    let pages =
        "pm.status_path = /status\npm.status_listen = {dir}/status.sock\nphp_flag[output_buffering] = off";
    Setup::new()
        .www(&format!("pm.max_children = {children}\n{pages}\n{lines}"))
        .script("slow.php", SLOW)
        .script("x.php", "<?php echo 1;")
}

/// The page of the status pool: label and number.
fn page(server: &Server) -> Vec<(String, u64)> {
    let request = Request::get(server, "/x.php").param("SCRIPT_NAME", "/status");
    numbers(&Client::unix(&server.socket("status")).send(&request).body())
}

fn numbers(text: &str) -> Vec<(String, u64)> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.filter_map(|(label, value)| Some((label.to_owned(), value.trim().parse().ok()?))).collect()
}

fn number(page: &[(String, u64)], label: &str) -> u64 {
    page.iter().find(|(known, _)| known == label).unwrap_or_else(|| panic!("no {label}: {page:?}")).1
}

/// The numbers with these labels, once they are as expected; panics if they never are.
fn settled(server: &Server, expected: &[(&str, u64)]) -> String {
    let as_expected = || {
        let page = page(server);
        let found: Vec<_> = expected.iter().map(|(label, _)| (*label, number(&page, label))).collect();
        (found == expected).then(|| format!("{found:?}"))
    };
    wait::until(as_expected)
        .unwrap_or_else(|| panic!("{:?}: {expected:?} expected: {:?}", server.side, page(server)))
}

/// A connection on which a slow script runs until the file `until` is there.
fn begun(server: &Server, until: &str) -> Client {
    let mut client = server.connect();
    client.write(&Request::get(server, &format!("/slow.php?until={until}")).encode()).expect("sent");
    let first = client.read_record();
    assert!(first.is_some_and(|(_, content)| content.ends_with(b"begun")), "the slow script has not begun");
    client
}

/// A connection with a request that nobody takes yet.
fn queued(server: &Server) -> Client {
    let mut client = server.connect();
    client.write(&Request::get(server, "/x.php").encode()).expect("sent");
    client
}

/// Reads all replies. Each connection is closed then: php-fpm's worker waits for that.
fn answer(waiting: Vec<Client>) {
    for mut client in waiting {
        assert!(client.read_reply().end.is_some());
    }
}

#[test]
fn idle_active_and_total() {
    let mut pair = Pair::start(&setup(3, ""));
    pair.same("nobody has come", |server| {
        settled(
            server,
            &[("idle processes", 3), ("active processes", 0), ("total processes", 3), ("accepted conn", 0)],
        )
    });
    pair.same("two are at work, then one, then none", |server| {
        let (mut first, mut second) = (begun(server, "one"), begun(server, "two"));
        let busy = [
            ("idle processes", 1),
            ("active processes", 2),
            ("total processes", 3),
            ("max active processes", 2),
        ];
        let mut seen = vec![settled(server, &busy)];
        server.write("tmp/one", "");
        first.read_reply();
        drop(first);
        let less = [
            ("idle processes", 2),
            ("active processes", 1),
            ("total processes", 3),
            ("max active processes", 2),
        ];
        seen.push(settled(server, &less));
        server.write("tmp/two", "");
        second.read_reply();
        drop(second);
        let none = [
            ("idle processes", 3),
            ("active processes", 0),
            ("max active processes", 2),
            ("accepted conn", 2),
        ];
        seen.push(settled(server, &none));
        seen.join("\n")
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn a_worker_killed_at_work_is_not_counted_for_ever() {
    let mut pair = Pair::start(&setup(2, ""));
    pair.same("killed three times", |server| {
        for round in 0..3 {
            let mut client = begun(server, "never");
            let workers = wait::until(|| Some(server.workers("www")).filter(|workers| workers.len() == 2));
            workers.expect("two workers").iter().for_each(|worker| worker.signal(Signal::SIGKILL));
            client.read_reply();
            server.wait_log_times("exited on signal 9", 2 * (round + 1));
        }
        settled(
            server,
            &[
                ("idle processes", 2),
                ("active processes", 0),
                ("total processes", 2),
                ("max active processes", 1),
            ],
        )
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn all_kinds_of_ends_are_counted() {
    let setup = setup(1, "pm.max_requests = 3")
        .script("exit.php", "<?php exit(1);")
        .script("fatal.php", "<?php nothing();");
    let mut pair = Pair::start(&setup);
    pair.same("seven requests", |server| {
        for script in ["/x.php", "/exit.php", "/fatal.php", "/none.php", "/x.txt", "/x.php", "/x.php"] {
            server.get(script);
        }
        settled(
            server,
            &[
                ("accepted conn", 7),
                ("idle processes", 1),
                ("active processes", 0),
                ("max active processes", 1),
            ],
        )
    });
    pair.ignore_log();
    pair.finish();
}

/// The most at once is known although nobody looked at that moment.
#[test]
fn the_most_at_once_is_not_sampled() {
    let mut pair = Pair::start(&setup(4, ""));
    pair.same("four at once", |server| {
        server.write("www/meet.php", "<?php $d = dirname(__DIR__) . '/tmp/'; touch($d . 'm' . getmypid()); while (count(glob($d . 'm*')) < 4) usleep(500);");
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| server.get("/meet.php")))));
        settled(server, &[("max active processes", 4), ("accepted conn", 4), ("idle processes", 4)])
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn the_queue_of_a_tcp_socket() {
    let lines = "listen = 127.0.0.1:{port}\nlisten.backlog = 7";
    let mut pair = Pair::start(&setup(1, lines).pool("other", ""));
    pair.same("three wait", |server| {
        let connect = || Client::tcp(([127, 0, 0, 1], server.port(0)).into()).expect("connection");
        let mut busy = connect();
        busy.write(&Request::get(server, "/slow.php?until=go").encode()).expect("sent");
        busy.read_record();
        let mut waiting: Vec<Client> = (0..3).map(|_| connect()).collect();
        for client in &mut waiting {
            client.write(&Request::get(server, "/x.php").encode()).expect("sent");
        }
        let full =
            [("listen queue", 3), ("max listen queue", 3), ("listen queue len", 7), ("active processes", 1)];
        let mut seen = vec![settled(server, &full)];
        server.write("tmp/go", "");
        drop(busy);
        answer(waiting);
        seen.push(settled(server, &[("listen queue", 0), ("max listen queue", 3), ("accepted conn", 4)]));
        seen.join("\n")
    });
    pair.ignore_log();
    pair.finish();
}

/// php-fpm shows zeros.
#[test]
fn the_queue_of_a_unix_socket() {
    let mut pair = Pair::start(&setup(1, "listen.backlog = 9"));
    let reason = "the kernel tells, if it is asked";
    pair.differs("three wait", reason, |server| {
        let mut busy = begun(server, "go");
        let waiting: Vec<Client> = (0..3).map(|_| queued(server)).collect();
        let expected = if server.side == Side::Subject { 3 } else { 0 };
        let mut seen = vec![settled(server, &[("listen queue", expected), ("active processes", 1)])];
        let length = number(&page(server), "listen queue len");
        server.write("tmp/go", "");
        busy.read_reply();
        drop(busy);
        answer(waiting);
        let after = [("listen queue", 0), ("max listen queue", expected), ("accepted conn", 4)];
        seen.push(settled(server, &after));
        format!("{} {length}", seen.join("\n"))
    });
    pair.ignore_log();
    pair.finish();
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &setup(1, "listen.backlog = 9"));
    assert_eq!(number(&page(&server), "listen queue len"), 9);
    server.stop();
}

/// The pool's own page looks at the queue when it is asked: what waits behind the asking request is there.
#[test]
fn the_queue_is_looked_at_when_the_page_is_asked() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &setup(1, ""));
    let mut busy = begun(&server, "go");
    let mut asking = server.connect();
    let request = Request::get(&server, "/x.php").param("SCRIPT_NAME", "/status");
    asking.write(&request.encode()).expect("sent");
    let behind: Vec<Client> = (0..2).map(|_| queued(&server)).collect();
    server.write("tmp/go", "");
    busy.read_reply();
    drop(busy);
    let page = numbers(&asking.read_reply().body());
    assert_eq!(number(&page, "listen queue"), 2, "{page:?}");
    assert_eq!((number(&page, "active processes"), number(&page, "idle processes")), (1, 0));
    drop(asking);
    answer(behind);
    server.stop();
}

/// As balancers look whether somebody listens.
#[test]
fn connections_without_a_request() {
    let mut pair = Pair::start(&setup(1, ""));
    pair.differs("opened and closed", "no request has begun", |server| {
        for _ in 0..3 {
            let mut client = server.connect();
            client.end_writing();
            assert!(client.at_end());
        }
        server.get("/x.php");
        let accepted = if server.side == Side::Subject { 1 } else { 4 };
        settled(server, &[("accepted conn", accepted), ("idle processes", 1), ("active processes", 0)])
    });
    pair.ignore_log();
    pair.finish();
}

/// A web server's idle connection: php-fpm takes its worker for active, and its wait for a request.
#[test]
fn kept_connections() {
    let mut pair = Pair::start(&setup(2, ""));
    let reason = "an idle connection is no work";
    pair.differs("idle kept connection", reason, |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.send(&Request::get(server, "/x.php").keep());
        }
        let idle = [
            ("active processes", 0),
            ("idle processes", 2),
            ("accepted conn", 3),
            ("max active processes", 1),
        ];
        // php-fpm's largest number of active workers is the number of waits.
        let waits = [("active processes", 1), ("idle processes", 1), ("accepted conn", 4)];
        settled(server, if server.side == Side::Subject { &idle } else { &waits })
    });
    pair.ignore_log();
    pair.finish();
}

/// However often it is asked while workers come, go and work, the page adds up, and it always comes.
#[test]
fn the_page_adds_up_under_load() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &setup(4, "pm.max_requests = 20"));
    thread::scope(|scope| {
        let load = (0..4).map(|_| {
            scope.spawn(|| {
                let request = Request::get(&server, "/x.php");
                let mut answered = 0;
                for number in 0..150 {
                    let mut client = server.connect();
                    answered += u64::from(client.send(&request.clone().keep()).end.is_some());
                    if number % 3 == 0 {
                        // A worker that retires closes the connection instead.
                        answered += u64::from(client.send(&request).end.is_some());
                    }
                }
                answered
            })
        });
        let load: Vec<_> = load.collect();
        let mut looks = 0;
        let mut accepted = 0;
        while load.iter().any(|client| !client.is_finished()) {
            let request = Request::get(&server, "/x.php?full&json").param("SCRIPT_NAME", "/status");
            let reply = Client::unix(&server.socket("status")).send(&request);
            assert_eq!(reply.status(), 200);
            let page = page(&server);
            let get = |label: &str| number(&page, label);
            assert_eq!(get("total processes"), get("idle processes") + get("active processes"));
            assert!(
                get("total processes") <= 8 && get("active processes") <= get("total processes"),
                "{page:?}"
            );
            assert!(get("accepted conn") >= accepted && get("max active processes") <= 8, "{page:?}");
            accepted = get("accepted conn");
            looks += 1;
        }
        assert!(looks > 0);
        let answered = load.into_iter().map(|client| client.join().expect("client")).sum();
        let expected = [("accepted conn", answered), ("active processes", 0)];
        assert_eq!(settled(&server, &expected), format!("{expected:?}"));
    });
    server.stop();
}

/// Workers whose fork server is gone are still counted, and no longer once they have ended, however they do.
#[test]
fn workers_of_a_lost_fork_server_are_counted() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &setup(2, ""));
    let fork_server = |server: &Server| {
        let title = "php-fpm: fork server www";
        server.processes().into_iter().find(|process| process.title() == title)
    };
    let [mut first, mut second] = ["one", "never"].map(|until| begun(&server, until));
    fork_server(&server).expect("fork server").signal(Signal::SIGKILL);
    // Both are at work, their two successors wait.
    settled(&server, &[("active processes", 2), ("idle processes", 2), ("max active processes", 2)]);
    server.write("tmp/one", "");
    assert!(first.read_reply().end.is_some());
    drop(first);
    settled(&server, &[("active processes", 1), ("idle processes", 2)]);
    let busy: Vec<_> = server
        .workers("www")
        .into_iter()
        .filter(|worker| worker.status_line("PPid") == Some(server.master().to_string()))
        .collect();
    assert_eq!(busy.len(), 1);
    busy[0].signal(Signal::SIGKILL);
    second.read_reply();
    settled(
        &server,
        &[
            ("active processes", 0),
            ("idle processes", 2),
            ("total processes", 2),
            ("max active processes", 2),
        ],
    );
    server.stop();
}

/// Neither file nor descriptor of another pool is open in the status pool, but for the scoreboard it shows.
#[test]
fn the_status_pool_holds_no_socket_of_the_other() {
    if same_on_both_sides() || skip_unless_root("descriptors of workers", 1) {
        return;
    }
    let server = Server::start(Side::Subject, &setup(1, "access.log = {dir}/access.log"));
    page(&server);
    let inode = |pid: i32| -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("own process");
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.map(|target| target.to_string_lossy().into_owned()).collect()
    };
    let [main, status] =
        ["www", "www_status"].map(|pool| inode(server.workers(pool).first().expect("worker").pid));
    let own = |targets: &[String], what: &str| {
        targets.iter().filter(|target| target.contains(what)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(own(&main, "access.log").len(), 1);
    assert_eq!(own(&status, "access.log"), Vec::<String>::new());
    let shared: Vec<String> =
        own(&main, "socket:").into_iter().filter(|socket| status.contains(socket)).collect();
    assert_eq!(shared, Vec::<String>::new());
    server.stop();
}
