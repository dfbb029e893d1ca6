//! Ends that interrupt nothing: what a script notices, and who is answered, while workers are asked to finish.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, recv};

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::scene::{begun, slow};
use cornac_tests::{Client, Pair, Plays, Request, Server, Setup, Side, Signal, compare_runs, wait};

use Signal::{SIGCONT, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2};

/// Says what a call that waits returned, and whether it has waited at least so many milliseconds.
fn waits(call: &str, at_least: u32) -> String {
    let after = format!("echo json_encode($r), hrtime(true) - $t < {at_least}e6 ? ' cut short' : ' whole';");
    format!("<?php echo 'begun'; flush(); $t = hrtime(true); $r = {call}; {after}")
}

const SELECT: &str = "(function () { $pair = stream_socket_pair(1, 1, 0); $r = [$pair[0]]; $none = null; \
                      return @stream_select($r, $none, $none, 2); })()";

#[test]
fn nothing_that_waits_is_cut_short() {
    let mut plays = Plays::default();
    let calls = [
        ("sleep", "sleep(2)"),
        ("usleep", "usleep(2000000)"),
        ("nanosleep", "time_nanosleep(2, 0)"),
        ("select", SELECT),
    ];
    for (name, call) in calls {
        for signal in [SIGQUIT, SIGUSR2, SIGUSR1] {
            let setup = Setup::new()
                .script("slow.php", &waits(call, 1990))
                .www("php_flag[output_buffering] = off\npm.max_children = 2\naccess.log = {dir}/access.log")
                .global("process_control_timeout = 10");
            plays
                .add(&format!("{name}, {signal}"), setup, move |scene| {
                    scene.hold(1).signal(signal).replies();
                    if signal == SIGUSR2 {
                        // A stop in the middle of its reload php-fpm may not hear.
                        scene.wait_ready(2);
                    }
                })
                .without_log()
                .differs("php-fpm's worker gets a signal in the middle of its script");
        }
    }
    plays.run();
}

/// Workers are asked to finish while requests reach them: whoever took one has it run, and without a signal.
#[test]
fn asked_at_any_moment() {
    const CLIENTS: usize = 8;
    const TIMES: usize = 40;
    let script = "<?php $t = hrtime(true); usleep(3000); echo hrtime(true) - $t < 3e6 ? 'cut' : 'whole';";
    let setup =
        Setup::new().script("short.php", script).www("pm.max_children = 8\naccess.log = {dir}/access.log");
    let mut pair = Pair::start(&setup);
    pair.differs("logs opened again under load", "php-fpm's scripts are interrupted", |server| {
        let (over, all, cut, lost) =
            (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !over.load(Relaxed) {
                        match server.get("/short.php").body().as_str() {
                            "whole" => &all,
                            "cut" => &cut,
                            _ => &lost,
                        }
                        .fetch_add(1, Relaxed);
                    }
                });
            }
            for times in 1..=TIMES {
                server.signal(SIGUSR1);
                server.wait_log_times("error log file re-opened", times);
                // Until those who follow are at work, too.
                let before = all.load(Relaxed);
                let goes_on = || (all.load(Relaxed) > before + 2 * CLIENTS).then_some(());
                let goes_on = wait::until_within(Duration::from_secs(20), goes_on);
                over.store(goes_on.is_none() || times == TIMES, Relaxed);
            }
        });
        let (all, cut, lost) = (all.into_inner(), cut.into_inner(), lost.into_inner());
        if server.side == Side::Subject {
            assert!(
                all > TIMES * 2 * CLIENTS && cut == 0 && lost == 0,
                "{all} whole, {cut} cut, {lost} lost"
            );
        }
        format!("{lost} lost, {}", if cut > 0 { "some cut short" } else { "none cut short" })
    });
    pair.ignore_log();
    pair.finish();
}

/// Where a pool listens: the setup for it, and a connection.
#[derive(Clone, Copy, Debug)]
struct Door {
    tcp: bool,
    handed_in: bool,
}

const DOORS: [Door; 4] = [
    Door { tcp: false, handed_in: false },
    Door { tcp: true, handed_in: false },
    Door { tcp: false, handed_in: true },
    Door { tcp: true, handed_in: true },
];

impl Door {
    fn name(self) -> String {
        format!(
            "{} {}",
            if self.handed_in { "handed-in" } else { "own" },
            if self.tcp { "TCP" } else { "unix" }
        )
    }

    fn setup(self, setup: Setup) -> Setup {
        let at = if self.tcp { "127.0.0.1:{port}" } else { "{dir}/www.sock" };
        let setup = setup.www(&format!("listen = {at}"));
        if self.handed_in { setup.handed_in(at).env("FPM_SOCKETS", &format!("{at}=3")) } else { setup }
    }

    /// A TCP client that gets no answer asks again after a second.
    fn connect(self, server: &Server) -> std::io::Result<Client> {
        match self.tcp {
            true => {
                Client::tcp_within((Ipv4Addr::LOCALHOST, server.port(0)).into(), Duration::from_millis(500))
            }
            false => Client::try_unix(&server.socket("www")),
        }
    }

    /// A request that has been sent on a connection of its own.
    fn ask(self, server: &Server, script: &str) -> Client {
        let mut client = self.connect(server).expect("it listens");
        client.write(&Request::get(server, script).encode()).expect("sent");
        client
    }
}

const MANAGERS: [&str; 3] = [
    "pm = static",
    "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1",
    "pm = ondemand",
];

/// One worker, which `/held.php` keeps until `tmp/go` is there.
fn one_worker(door: Door, manager: &str) -> Setup {
    let held = "<?php touch(dirname(__DIR__) . '/tmp/begun'); \
                while (!file_exists(dirname(__DIR__) . '/tmp/go')) usleep(2000); echo 'held';";
    let crash = "<?php posix_kill(getmypid(), 11); sleep(5);";
    let setup = Setup::new().script("held.php", held).script("x.php", "<?php echo 'x';");
    let setup = setup.script("crash.php", crash).www("pm.max_children = 1").www(manager);
    door.setup(setup).global("process_control_timeout = 15")
}

fn hold(door: Door, server: &Server) -> Client {
    let held = door.ask(server, "/held.php");
    wait::until(|| server.dir().join("tmp/begun").exists().then_some(())).expect("it runs");
    held
}

/// What the clients got, in their order.
fn replies(clients: impl IntoIterator<Item = Client>) -> String {
    let body = |mut client: Client| {
        let reply = client.read_reply();
        reply.end.map_or_else(|| "nothing".to_owned(), |_| reply.body())
    };
    clients.into_iter().map(body).collect::<Vec<_>>().join(", ")
}

const RESETS: &str = "php-fpm resets what is queued";

#[test]
fn who_is_queued_is_served() {
    std::thread::scope(|scope| {
        for door in DOORS {
            scope.spawn(move || {
                for manager in MANAGERS {
                    let name = format!("{}, {manager}", door.name());
                    compare_runs(&name, Some(RESETS), |side| {
                        let server = Server::start(side, &one_worker(door, manager));
                        let held = hold(door, &server);
                        let queued: Vec<Client> = (0..5).map(|_| door.ask(&server, "/x.php")).collect();
                        server.signal(SIGQUIT);
                        server.wait_log("Finishing ...");
                        // A second one changes nothing.
                        server.signal(SIGQUIT);
                        server.write("tmp/go", "");
                        // A client that stays connected would keep php-fpm's worker.
                        let first = replies([held]);
                        let exit = server.wait_exit();
                        // With our copy of a socket handed in goes what nobody has accepted.
                        drop(server);
                        let text = replies(queued);
                        if side == Side::Subject {
                            assert_eq!((first.as_str(), text.as_str()), ("held", "x, x, x, x, x"), "{name}");
                        }
                        format!("{first}; {text}; exit {exit}")
                    });
                }
            });
        }
    });
}

/// The master is stopped when the connections come: no worker was there when QUIT came.
#[test]
fn who_is_queued_where_no_worker_is() {
    for door in DOORS {
        let name = format!("ondemand, {}", door.name());
        compare_runs(&name, Some(RESETS), |side| {
            let server = Server::start(side, &one_worker(door, MANAGERS[2]));
            server.signal(SIGSTOP);
            let queued: Vec<Client> = (0..3).map(|_| door.ask(&server, "/x.php")).collect();
            server.signal(SIGQUIT);
            server.signal(SIGCONT);
            let exit = server.wait_exit();
            drop(server);
            let text = replies(queued);
            if side == Side::Subject {
                assert_eq!(text, "x, x, x", "{name}");
            }
            format!("{text}; exit {exit}")
        });
    }
}

#[test]
fn a_crash_on_the_way_costs_its_own_request_only() {
    for manager in MANAGERS {
        compare_runs(manager, Some(RESETS), |side| {
            let door = DOORS[0];
            let server = Server::start(side, &one_worker(door, manager));
            let held = hold(door, &server);
            let queued =
                ["/crash.php", "/x.php", "/crash.php", "/x.php"].map(|script| door.ask(&server, script));
            server.signal(SIGQUIT);
            server.wait_log("Finishing ...");
            server.write("tmp/go", "");
            let [a, b, c, d] = queued;
            let (first, crashes, text) = (replies([held]), replies([a, c]), replies([b, d]));
            if side == Side::Subject {
                assert!(text == "x, x" && !crashes.contains('x'), "{text}; {crashes}");
            }
            format!("{first}; {text}; exit {}", server.wait_exit())
        });
    }
}

#[test]
fn sigterm_cuts_it_short() {
    let mut plays = Plays::default();
    for manager in MANAGERS {
        let setup = one_worker(DOORS[0], manager);
        let play = plays.add(manager, setup, |scene| {
            let (held, queued) = (hold(DOORS[0], scene.server()), DOORS[0].ask(scene.server(), "/x.php"));
            scene.signal(SIGQUIT).wait_log("Finishing ...").stop(SIGTERM);
            scene.note(replies([held, queued]));
        });
        if manager != MANAGERS[0] {
            // Whether a look of the process manager comes in between, and warns of its limit, is a matter of chance.
            play.without_log();
        }
    }
    plays.run();
}

/// Nobody can get in any more who would then be turned away.
#[test]
fn a_socket_of_our_own_is_closed_to_newcomers_at_once() {
    for door in [DOORS[0], DOORS[1]] {
        compare_runs(&door.name(), Some("php-fpm lets them in, and resets them at its end"), |side| {
            let server = Server::start(side, &one_worker(door, MANAGERS[0]));
            let held = hold(door, &server);
            server.signal(SIGQUIT);
            server.wait_log("Finishing ...");
            let refused = wait::until_within(Duration::from_secs(2), || door.connect(&server).err());
            server.write("tmp/go", "");
            let first = replies([held]);
            format!("{first}; refused: {}; exit {}", refused.is_some(), server.wait_exit())
        });
    }
}

/// What was queued when the end began is served; who comes later waits for the next service.
#[test]
fn a_socket_handed_in_is_left_to_the_next() {
    if same_on_both_sides() {
        return;
    }
    for door in [DOORS[2], DOORS[3]] {
        let first = Server::start(Side::Subject, &one_worker(door, MANAGERS[0]));
        let held = hold(door, &first);
        let queued = door.ask(&first, "/x.php");
        first.signal(SIGQUIT);
        // Only the drain makes the socket one that nobody waits on.
        let flags = || fcntl(&first.held()[0], FcntlArg::F_GETFL).expect("own socket");
        let waits = || !OFlag::from_bits_retain(flags()).contains(OFlag::O_NONBLOCK);
        wait::until(|| (!waits()).then_some(())).expect("the drain begins");
        first.signal(SIGQUIT);
        first.wait_log_times("Finishing ...", 2);
        let late = door.ask(&first, "/x.php");
        first.write("tmp/go", "");
        assert_eq!(replies([held, queued]), "held, x", "{}", door.name());
        assert_eq!(first.wait_exit(), 0);
        assert!(waits(), "as it was lent");
        let at = if door.tcp { "127.0.0.1:{port}" } else { "{dir}/www.sock" };
        let at = first.fill(at);
        let next = Setup::new().www(&format!("listen = {at}")).env("FPM_SOCKETS", &format!("{at}=3"));
        let second = Server::start(Side::Subject, &first.hand_on(next));
        assert_eq!(replies([late]), "x", "{}", door.name());
        second.stop();
    }
}

/// Clients connect all the time, from before the end until after it: whoever got in is answered.
#[test]
fn under_load_nobody_is_let_in_and_left() {
    if same_on_both_sides() {
        return;
    }
    for (door, rounds) in [(DOORS[0], 8), (DOORS[1], 4)] {
        let (answered, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for round in 0..rounds {
            let script = "<?php usleep(2000); echo 'x';";
            let manager = MANAGERS[round % MANAGERS.len()];
            let setup =
                door.setup(Setup::new().script("x.php", script).www("pm.max_children = 4").www(manager));
            let server = Server::start(Side::Subject, &setup);
            let before = answered.load(Relaxed);
            let request = Request::get(&server, "/x.php").encode();
            std::thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| {
                        while let Ok(mut client) = door.connect(&server) {
                            let sent = client.write(&request).is_ok();
                            let served = sent && client.read_reply().body() == "x";
                            if served { &answered } else { &lost }.fetch_add(1, Relaxed);
                        }
                    });
                }
                wait::until(|| (answered.load(Relaxed) > before + 200).then_some(())).expect("it serves");
                server.signal(SIGQUIT);
            });
            assert_eq!(server.wait_exit(), 0);
        }
        let (answered, lost) = (answered.into_inner(), lost.into_inner());
        assert!(lost == 0 && answered > rounds * 200, "{}: {answered} answered, {lost} lost", door.name());
    }
}

#[test]
fn a_successor_may_start_before_the_end() {
    if same_on_both_sides() {
        return;
    }
    let first = Server::start(Side::Subject, &slow().global("pid = {dir}/pid"));
    let mut held = begun(&first);
    first.signal(SIGQUIT);
    first.wait_log("Finishing ...");
    wait::until(|| (!first.socket("www").exists()).then_some(())).expect("its name is free");
    let (socket, pid) = (first.socket("www"), first.dir().join("pid"));
    let setup = Setup::new().script("x.php", "<?php echo 'next';");
    let setup =
        setup.www(&format!("listen = {}", socket.display())).global(&format!("pid = {}", pid.display()));
    let second = Server::start(Side::Subject, &setup);
    first.write("tmp/go", "");
    assert!(held.read_reply().stdout.ends_with(b" ended"));
    assert_eq!(first.wait_exit(), 0);
    assert_eq!(std::fs::read_to_string(&pid).unwrap(), second.master().to_string());
    let reply = Client::unix(&socket).send(&Request::get(&second, "/x.php"));
    assert_eq!(reply.body(), "next");
    second.stop();
    assert!(!socket.exists() && !pid.exists());
}

/// Directives of our own: php-fpm knows neither.
#[test]
fn sigterm_can_be_graceful() {
    if same_on_both_sides() {
        return;
    }
    let setup = || one_worker(DOORS[0], MANAGERS[0]).global("shutdown.sigterm = graceful");
    let server = Server::start(Side::Subject, &setup());
    let held = hold(DOORS[0], &server);
    let queued = DOORS[0].ask(&server, "/x.php");
    server.signal(SIGTERM);
    server.wait_log("Finishing ...");
    server.signal(SIGTERM);
    server.write("tmp/go", "");
    assert_eq!(replies([held, queued]), "held, x");
    assert_eq!(server.wait_exit(), 0);
    let server = Server::start(Side::Subject, &setup());
    let held = hold(DOORS[0], &server);
    server.signal(SIGTERM);
    server.wait_log("Finishing ...");
    server.stop_with(SIGINT);
    assert_eq!(replies([held]), "nothing");
    assert!(server.log().contains("Terminating ..."));
}

#[test]
fn a_stop_can_be_delayed() {
    if same_on_both_sides() {
        return;
    }
    let setup =
        |delay: u32| slow().script("x.php", "<?php echo 'x';").global(&format!("shutdown.delay = {delay}"));
    let server = Server::start(Side::Subject, &setup(60));
    server.signal(SIGQUIT);
    server.wait_log("Finishing in 60 s ...");
    assert_eq!(server.get("/x.php").body(), "x");
    let worker = server.workers("www")[0];
    worker.signal(SIGTERM);
    wait::until(|| (!worker.lives() && server.workers("www").len() == 2).then_some(()))
        .expect("it is replaced");
    assert_eq!(server.get("/x.php").body(), "x");
    server.signal(SIGQUIT);
    assert_eq!(server.wait_exit(), 0);
    let server = Server::start(Side::Subject, &setup(1));
    let asked = Instant::now();
    server.signal(SIGQUIT);
    server.wait_log("Finishing in 1 s ...");
    assert_eq!(server.wait_exit(), 0);
    assert!(asked.elapsed() >= Duration::from_secs(1) && server.log().contains("Finishing ..."));
    let server = Server::start(Side::Subject, &setup(60));
    server.signal(SIGQUIT);
    server.wait_log("Finishing in 60 s ...");
    server.stop_with(SIGTERM);
}

#[test]
fn the_limit_without_process_control_timeout() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &slow().global("drain_timeout = 1"));
    let mut held = begun(&server);
    let asked = Instant::now();
    server.signal(SIGQUIT);
    assert!(held.read_reply().end.is_none());
    assert_eq!(server.wait_exit(), 0);
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let server = Server::start(Side::Subject, &slow());
    let mut held = begun(&server);
    server.signal(SIGQUIT);
    server.wait_log("Finishing ...");
    server.write("tmp/go", "");
    assert!(held.read_reply().stdout.ends_with(b" ended"));
    assert_eq!(server.wait_exit(), 0);
}

/// A request on a connection that the client keeps; between two of them it looks, as a web server does, whether the other
/// end has closed. `None` when it has; `Some(false)` if the request was lost.
fn ask_again(stream: &mut UnixStream, request: &[u8]) -> Option<bool> {
    std::thread::sleep(Duration::from_millis(2));
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    if recv(stream.as_raw_fd(), &mut [0], flags) != Err(Errno::EAGAIN) {
        return None;
    }
    let mut served = || -> std::io::Result<()> {
        stream.write_all(request)?;
        loop {
            let mut header = [0; 8];
            stream.read_exact(&mut header)?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]])) + usize::from(header[6]);
            stream.read_exact(&mut vec![0; length])?;
            if header[1] == 3 {
                return Ok(());
            }
        }
    };
    Some(served().is_ok())
}

/// More kept connections than workers, each asked again and again: the stop closes them between requests.
#[test]
fn kept_connections_are_closed_between_requests() {
    if same_on_both_sides() {
        return;
    }
    let (answered, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for manager in MANAGERS {
        let script = "<?php usleep(1000); echo 'x';";
        let setup = Setup::new().script("x.php", script).www("pm.max_children = 3").www(manager);
        let server = Server::start(Side::Subject, &setup);
        let before = answered.load(Relaxed);
        let request = Request::get(&server, "/x.php").keep().encode();
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let mut stream = UnixStream::connect(server.socket("www")).expect("it listens");
                    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("own socket");
                    while let Some(served) = ask_again(&mut stream, &request) {
                        if served { &answered } else { &lost }.fetch_add(1, Relaxed);
                        if !served {
                            return;
                        }
                    }
                });
            }
            wait::until(|| (answered.load(Relaxed) > before + 300).then_some(())).expect("it serves");
            server.signal(SIGQUIT);
        });
        assert_eq!(server.wait_exit(), 0);
    }
    assert_eq!(lost.into_inner(), 0, "of {}", answered.into_inner());
}

/// Who is queued on the socket of a pool that is there no more after a reload is served.
#[test]
fn a_removed_pool_is_drained() {
    if same_on_both_sides() {
        return;
    }
    let old = |setup: Setup| setup.pool("old", "listen = {dir}/old.sock\npm.max_children = 1");
    let server = Server::start(Side::Subject, &old(one_worker(DOORS[0], MANAGERS[0])));
    let ask = |script: &str| {
        let mut client = Client::unix(&server.socket("old"));
        client.write(&Request::get(&server, script).encode()).expect("sent");
        client
    };
    let held = ask("/held.php");
    wait::until(|| server.dir().join("tmp/begun").exists().then_some(())).expect("it runs");
    let queued = [ask("/x.php"), ask("/x.php"), ask("/x.php")];
    server.configure(&one_worker(DOORS[0], MANAGERS[0]));
    server.signal(SIGUSR2);
    server.wait_ready_times(2);
    assert!(!server.socket("old").exists());
    server.write("tmp/go", "");
    assert_eq!(replies(std::iter::once(held).chain(queued)), "held, x, x, x");
    wait::until(|| server.workers("old").is_empty().then_some(())).expect("it ends");
    assert_eq!(server.get("/x.php").body(), "x");
    server.stop();
}
