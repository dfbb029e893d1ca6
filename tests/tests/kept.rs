//! Kept connections: however many there are against the workers, whoever has one and whoever comes with a new one is
//! served, and nothing closes one that a web server may be about to use. php-fpm serves nobody while its workers hold
//! kept connections, and closes them at `pm.max_requests` and at a reload.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::client::{Client, Request};
use cornac_tests::http::Http;
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::processes::Process;
use cornac_tests::{Pair, Server, Setup, Side, wait};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

/// What nginx writes when a connection was closed under it.
const COMPLAINTS: [&str; 5] =
    ["upstream prematurely closed", "upstream sent", "connect() to", "recv() failed", "writev() failed"];

fn setup(workers: usize, more: &str) -> Setup {
    Setup::new()
        .www(&format!("pm.max_children = {workers}\npm.status_path = /status\n{more}"))
        .script("pid.php", "<?php echo getmypid();")
        .script("reverse.php", "<?php echo strrev(file_get_contents('php://input'));")
        .script("nap.php", "<?php $t = hrtime(true); sleep(1); echo intdiv(hrtime(true) - $t, 1000000);")
}

fn cornac(setup: &Setup, scene: impl FnOnce(&Server)) {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, setup);
    scene(&server);
    server.stop();
}

/// Connections on each of which a request has been answered.
fn kept(server: &Server, count: usize) -> Vec<Client> {
    let request = Request::get(server, "/pid.php").keep();
    let open = || {
        let mut client = server.connect();
        assert!(client.send(&request).end.is_some(), "{}", server.log());
        client
    };
    (0..count).map(|_| open()).collect()
}

/// A body that is another one for each number, of up to 9 KB.
fn body(number: usize) -> String {
    format!("{number} ").repeat(number * 37 % 1000 + 1)
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// A POST on the connection, and whether its answer is right.
fn posts(server: &Server, client: &mut Client, number: usize) -> bool {
    let body = body(number);
    let request = Request::post(server, "/reverse.php", "text/plain", body.as_bytes()).keep();
    client.send(&request).body() == reversed(&body)
}

#[test]
fn a_second_client_is_served() {
    let mut pair = Pair::start(&setup(2, ""));
    let reason = "idle kept connections starve nobody";
    pair.differs("two kept connections and two workers", reason, |server| {
        let mut kept = kept(server, 2);
        let mut second = UnixStream::connect(server.socket("www")).expect("connected");
        second.set_read_timeout(Some(Duration::from_secs(2))).expect("own socket");
        second.write_all(&Request::get(server, "/pid.php").encode()).expect("sent");
        let served = second.read(&mut [0; 64]).is_ok_and(|count| count > 0);
        format!("{served} {:?}", kept.iter_mut().map(|client| posts(server, client, 7)).collect::<Vec<_>>())
    });
    pair.finish();
}

/// Before and after a reload, which hands all of them to the next fork server.
#[test]
fn all_of_a_thousand_stay_usable() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(4096), most).expect("more open files");
    cornac(&setup(4, ""), |server| {
        let mut clients = kept(server, 1000);
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                assert!(posts(server, client, round * 1000 + number), "{number}: {}", server.log());
                // Whoever comes meanwhile waits for none of them.
                assert!(number % 50 > 0 || server.get("/pid.php").end.is_some());
            }
            let before = server.fork_server("www");
            server.signal(Signal::SIGUSR2);
            wait::until(|| (!before.lives()).then_some(())).expect("the fork server of before ends");
        }
        assert!(clients.iter_mut().all(|client| posts(server, client, 1)), "{}", server.log());
    });
}

/// The fork server may hold more than its workers.
#[test]
fn scripts_have_the_limit_that_was_set() {
    let code =
        "<?php $limits = posix_getrlimit(); echo $limits['soft openfiles'], ' ', $limits['hard openfiles'];";
    for lines in ["", "rlimit_files = 512"] {
        let setup = setup(1, lines).script("limit.php", code).wrapped(&["prlimit", "--nofile=300:3000"]);
        let mut pair = Pair::start(&setup);
        pair.same("limits of open files", |server| server.get("/limit.php").body());
        if lines.is_empty() && !same_on_both_sides() {
            let mut clients = kept(&pair.subject, 600);
            assert!(clients.iter_mut().all(|client| posts(&pair.subject, client, 4)));
        }
        pair.finish();
    }
}

#[test]
fn all_at_once() {
    cornac(&setup(4, ""), |server| {
        let wrong = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (place, mut client) in kept(server, 64).into_iter().enumerate() {
                let wrong = &wrong;
                scope.spawn(move || {
                    for round in 0..40 {
                        wrong
                            .fetch_add(usize::from(!posts(server, &mut client, round * 64 + place)), Relaxed);
                    }
                });
            }
            for _ in 0..200 {
                assert!(server.get("/pid.php").end.is_some(), "{}", server.log());
            }
        });
        assert_eq!(wrong.into_inner(), 0, "{}", server.log());
    });
}

/// Without a pause one connection holds no worker either.
#[test]
fn a_single_busy_connection_gives_way() {
    cornac(&setup(1, ""), |server| {
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut busy = kept(server, 1);
            let ends = &ends;
            let client = scope.spawn(move || {
                let right = (0..)
                    .take_while(|_| !ends.load(Relaxed))
                    .all(|number| posts(server, &mut busy[0], number));
                assert!(right, "{}", server.log());
            });
            (0..50).for_each(|_| assert!(server.get("/pid.php").end.is_some(), "{}", server.log()));
            ends.store(true, Relaxed);
            client.join().expect("its client");
        });
    });
}

#[test]
fn every_request_a_new_worker() {
    cornac(&setup(2, "pm.max_requests = 1"), |server| {
        let mut clients = kept(server, 5);
        for number in 0..100 {
            assert!(posts(server, &mut clients[number % 5], number), "{number}: {}", server.log());
        }
    });
}

#[test]
fn a_nudge_cuts_no_sleep_short() {
    cornac(&setup(3, ""), |server| {
        let mut clients = kept(server, 16);
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let nappers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let naps = (0..5).map(|_| server.get("/nap.php").body());
                        naps.map(|text| text.parse().expect("milliseconds")).collect::<Vec<u32>>()
                    })
                })
                .collect();
            let ends = &ends;
            scope.spawn(move || {
                for number in (0..).take_while(|_| !ends.load(Relaxed)) {
                    assert!(posts(server, &mut clients[number % 16], number));
                }
            });
            let naps: Vec<u32> = nappers.into_iter().flat_map(|one| one.join().expect("naps")).collect();
            ends.store(true, Relaxed);
            assert!(naps.iter().all(|nap| *nap >= 1000), "{naps:?}");
        });
    });
}

/// What nobody needs is closed, here and where it was parked.
#[test]
fn who_hangs_up_leaves_nothing() {
    cornac(&setup(2, ""), |server| {
        let files = || {
            let processes = [server.fork_server("www")].into_iter().chain(server.workers("www"));
            let count = |process: Process| {
                fs::read_dir(format!("/proc/{}/fd", process.pid)).map_or(0, Iterator::count)
            };
            processes.map(count).sum::<usize>()
        };
        drop(kept(server, 2));
        let before = files();
        let clients = kept(server, 40);
        assert!(files() >= before + 40);
        drop(clients);
        wait::until(|| (files() <= before).then_some(())).expect("all are closed");
    });
}

/// With the fork server go the connections that are parked there; the others stay, and new ones are parked again.
#[test]
fn a_lost_fork_server() {
    cornac(&setup(2, ""), |server| {
        let mut clients = kept(server, 20);
        server.fork_server("www").signal(Signal::SIGKILL);
        server.wait_log("go on serving");
        let stayed = clients.iter_mut().filter_map(|client| posts(server, client, 1).then_some(())).count();
        assert!((1..=20).contains(&stayed), "{stayed}");
        wait::until(|| (server.workers("www").len() == 2).then_some(())).expect("two workers");
        let mut clients = kept(server, 20);
        for number in 0..100 {
            assert!(posts(server, &mut clients[number % 20], number), "{}", server.log());
        }
    });
}

/// One that does not answer is left alone: workers keep what they have, and serve whoever comes.
#[test]
fn a_fork_server_that_hangs() {
    cornac(&setup(2, ""), |server| {
        let mut clients = kept(server, 1);
        let process = server.fork_server("www");
        process.signal(Signal::SIGSTOP);
        for number in 0..20 {
            assert!(server.get("/pid.php").end.is_some(), "{}", server.log());
            assert!(posts(server, &mut clients[0], number), "{}", server.log());
        }
        process.signal(Signal::SIGCONT);
        assert!(kept(server, 10).iter_mut().all(|client| posts(server, client, 3)));
    });
}

/// Those that were idle for longest make room.
#[test]
fn a_full_park() {
    cornac(&setup(2, "rlimit_files = 100"), |server| {
        let mut clients = kept(server, 80);
        assert!(posts(server, &mut clients[79], 1));
        let open = |clients: &mut Vec<Client>| {
            clients.iter_mut().map(|client| usize::from(posts(server, client, 2))).sum::<usize>()
        };
        // Whoever was closed was silent for a second; those parked last are there.
        let stayed = open(&mut clients);
        assert!((30..80).contains(&stayed), "{stayed}");
        assert!(posts(server, &mut clients[79], 3) && server.get("/pid.php").end.is_some());
    });
}

/// With so few descriptors connections may be closed that have been silent for a second, but none hangs.
#[test]
fn hardly_any_room_to_park() {
    cornac(&setup(1, "rlimit_files = 40"), |server| {
        let request = Request::get(server, "/pid.php").keep();
        let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        for _ in 0..20 {
            for client in &mut clients {
                let reply = client.send(&request);
                assert!(reply.end.is_some(), "{}\n{}", reply.to_text(), server.log());
            }
        }
    });
}

#[test]
fn parked_connections_keep_nobody_busy() {
    cornac(&setup(2, ""), |server| {
        let mut clients = kept(server, 30);
        let status = || server.send(&Request::get(server, "/x.php").param("SCRIPT_NAME", "/status")).body();
        let page = wait::until(|| Some(status()).filter(|page| page.contains("idle processes:       1")));
        let page = page.expect("one answers, the other is idle");
        assert!(page.contains("active processes:     1"), "{page}");
        assert!(clients.iter_mut().all(|client| posts(server, client, 9)));
    });
}

/// Where an ondemand pool has no worker any more, a parked connection calls for one as a new connection does.
#[test]
fn a_request_on_a_parked_connection_calls_for_a_worker() {
    let managers = [
        "pm = ondemand\npm.process_idle_timeout = 2s",
        "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1",
    ];
    for manager in managers {
        cornac(&setup(3, manager), |server| {
            let mut clients = kept(server, 6);
            if manager.contains("ondemand") {
                wait::until(|| server.workers("www").is_empty().then_some(())).expect("nobody is left");
            }
            let fork_server_is_there = server.fork_server("www").lives();
            assert!(fork_server_is_there && posts(server, &mut clients[2], 5), "{}", server.log());
        });
    }
}

/// Where a connection came from is known to whichever worker has it.
#[test]
fn the_peer_of_a_parked_connection() {
    let tcp = "listen = 127.0.0.1:{port}\naccess.log = {dir}/access.log\naccess.format = \"%R %r\"\n\
               listen.allowed_clients = 127.0.0.1";
    cornac(&setup(1, tcp), |server| {
        let address = format!("127.0.0.1:{}", server.port(0)).parse().expect("an address");
        let mut clients: Vec<_> = (0..6).map(|_| Client::tcp(address).expect("connected")).collect();
        for number in 0..60 {
            assert!(posts(server, &mut clients[number % 6], number), "{}", server.log());
        }
        let lines = wait::until(|| Some(server.read("access.log")).filter(|log| log.lines().count() == 60));
        assert!(lines.expect("60 lines").lines().all(|line| line == "127.0.0.1 /reverse.php"));
    });
}

/// nginx never sends a POST again: each connection that is closed under it is an error. Clients post without pause
/// through it, others come with new connections, workers end after five requests, and reload follows reload.
/// `CORNAC_KEPT_POSTS` sets how many requests each client sends.
#[test]
fn nothing_is_closed_under_nginx() {
    const CLIENTS: usize = 16;
    let posts = std::env::var("CORNAC_KEPT_POSTS").map_or(150, |number| number.parse().expect("a number"));
    let setup = setup(4, "pm.max_requests = 5");
    cornac(&setup, |server| {
        let front = Nginx::start(server, &Options { keep: Some(64), ..Options::default() });
        let busy = AtomicUsize::new(CLIENTS);
        let wrong: Vec<String> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (front, busy) = (&front, &busy);
                    scope.spawn(move || {
                        let wrong =
                            (0..posts).filter_map(|round| through(front, round * CLIENTS + client).err());
                        let wrong = wrong.collect::<Vec<_>>();
                        busy.fetch_sub(1, Relaxed);
                        wrong
                    })
                })
                .collect();
            let second = scope.spawn(|| {
                while busy.load(Relaxed) > 0 {
                    assert!(server.get("/pid.php").end.is_some(), "{}", server.log());
                }
            });
            let mut reloads = 0;
            while busy.load(Relaxed) > 0 {
                reloads += 1;
                server.signal(Signal::SIGUSR2);
                server.wait_ready_times(1 + reloads);
            }
            second.join().expect("the second client");
            assert!(reloads >= 3, "only {reloads} reloads");
            clients.into_iter().flat_map(|client| client.join().expect("client")).collect()
        });
        let log = front.log();
        let complaints: Vec<_> =
            log.lines().filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint))).collect();
        assert!(wrong.is_empty() && complaints.is_empty(), "{wrong:#?}\n{complaints:#?}\n{}", server.log());
    });
}

fn through(front: &Nginx, number: usize) -> Result<(), String> {
    thread_local!(static HTTP: Http = Http::default());
    let body = body(number);
    let sent = [("Content-Type", "text/plain")];
    let answer = HTTP.with(|http| http.try_send("POST", &front.url("/reverse.php"), &sent, body.as_bytes()));
    let answer = answer.map_err(|error| format!("{number}: {error}"))?;
    if answer.status == 200 && answer.text() == reversed(&body) {
        return Ok(());
    }
    Err(format!("{number}: {} {}", answer.status, answer.text().chars().take(60).collect::<String>()))
}

/// At the end of the service a connection is closed with the answer to its next request, or once it has been silent
/// for a second; what comes on it before is served.
#[test]
fn a_stop_serves_what_comes_on_kept_connections() {
    cornac(&setup(2, ""), |server| {
        let mut clients = kept(server, 20);
        server.signal(Signal::SIGQUIT);
        server.wait_log("Finishing ...");
        for (number, client) in clients.iter_mut().enumerate().take(15) {
            assert!(posts(server, client, number), "{number}: {}", server.log());
        }
        assert!(clients.iter_mut().all(Client::at_end));
        assert_eq!(server.wait_exit(), 0);
    });
}

#[test]
fn a_termination_waits_for_nobody() {
    cornac(&setup(2, ""), |server| {
        let mut clients = kept(server, 20);
        server.signal(Signal::SIGTERM);
        assert!(clients.iter_mut().all(Client::at_end));
    });
}

/// A script that goes on after its reply holds no connection: php-fpm answers the next request on it when it has ended.
#[test]
fn the_next_request_does_not_wait_for_a_script_that_goes_on() {
    let code = "<?php echo getmypid(); fastcgi_finish_request(); while (!is_file('{dir}/tmp/go')) usleep(10000); \
                file_put_contents('{dir}/tmp/body', file_get_contents('php://input'), FILE_APPEND);";
    let mut pair = Pair::start(&setup(2, "").file("go-on.txt", code));
    let reason = "the connection is parked when the reply has been sent";
    pair.differs("a script that goes on", reason, |server| {
        server.write("www/go-on.php", server.read("go-on.txt"));
        let mut client = server.connect();
        let first = client.send(&Request::get(server, "/go-on.php").keep()).body();
        client.write(&Request::get(server, "/pid.php").keep().encode()).expect("sent");
        let sooner = server.side == Side::Subject && !same_on_both_sides();
        let second = sooner.then(|| client.read_reply().body());
        server.write("tmp/go", "");
        let second = second.unwrap_or_else(|| client.read_reply().body());
        format!("{}", first == second)
    });
    // What it may still read of the body is not lost.
    pair.same("a body that is read later", |server| {
        let mut client = server.connect();
        let post = Request::post(server, "/go-on.php", "text/plain", &[b'x'; 100_000]).keep();
        let first = client.send(&post).body();
        let second = client.send(&Request::get(server, "/pid.php").keep()).body();
        let body = wait::until(|| Some(server.read("tmp/body")).filter(|body| !body.is_empty()));
        format!("{} {} {}", !first.is_empty(), !second.is_empty(), body.expect("written").len())
    });
    pair.finish();
}
