//! Signals to the master and to workers, idle and with requests in flight: replies, log lines, exit codes, files.

use cornac_tests::scene::slow;
use cornac_tests::{Plays, Setup, Signal};

use Signal::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

fn dynamic(setup: Setup) -> Setup {
    setup.www(
        "pm = dynamic\npm.max_children = 4\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3",
    )
}

fn ondemand(setup: Setup) -> Setup {
    setup.www("pm = ondemand\npm.max_children = 4")
}

fn page() -> Setup {
    Setup::new().script("x.php", "<?php echo 'x';")
}

type Manager = (&'static str, fn(Setup) -> Setup);

const MANAGERS: [Manager; 3] = [("static", |setup| setup), ("dynamic", dynamic), ("ondemand", ondemand)];

#[test]
fn stop_of_an_idle_master() {
    let mut plays = Plays::default();
    for (name, manager) in MANAGERS {
        for signal in [SIGTERM, SIGINT, SIGQUIT] {
            let name = format!("{signal}, {name}");
            plays.add(&name, manager(page()), move |scene| {
                scene.get("/x.php").stop(signal);
            });
        }
    }
    plays.run();
}

#[test]
fn stop_with_requests_in_flight() {
    let mut plays = Plays::default();
    for (name, manager) in MANAGERS {
        for signal in [SIGTERM, SIGINT] {
            plays.add(&format!("{signal} ends them, {name}"), manager(slow()), move |scene| {
                scene.hold(1).stop(signal).replies();
            });
        }
        let patient = || manager(slow()).global("process_control_timeout = 10");
        plays.add(&format!("SIGQUIT lets them finish, {name}"), patient(), |scene| {
            scene.hold(1).signal(SIGQUIT).wait_log("Finishing ...").release().gone();
        });
        plays.add(&format!("SIGTERM after SIGQUIT, {name}"), patient(), |scene| {
            scene.hold(1).signal(SIGQUIT).wait_log("Finishing ...").stop(SIGTERM).replies();
        });
        plays.add(&format!("SIGQUIT twice, {name}"), patient(), |scene| {
            scene.hold(1).signal(SIGQUIT).wait_log("Finishing ...").signal(SIGQUIT).release().gone();
        });
    }
    plays.run();
}

#[test]
fn two_requests_in_flight() {
    let mut plays = Plays::default();
    plays.add("SIGTERM", slow(), |scene| {
        scene.hold(2).stop(SIGTERM).replies();
    });
    plays.add("SIGQUIT", slow().global("process_control_timeout = 10"), |scene| {
        scene.hold(2).signal(SIGQUIT).wait_log("Finishing ...").release().gone();
    });
    plays.add("SIGQUIT, then the time is over", slow().global("process_control_timeout = 1"), |scene| {
        scene.hold(2).signal(SIGQUIT).gone().replies();
    });
    plays.run();
}

#[test]
fn logs_are_opened_again() {
    let mut plays = Plays::default();
    for (name, manager) in MANAGERS {
        plays.add(&format!("idle, {name}"), manager(page()), |scene| {
            scene.signal(SIGUSR1).wait_log("error log file re-opened").get("/x.php").stop(SIGTERM);
        });
        plays.add(&format!("a request goes on, {name}"), manager(slow()), |scene| {
            scene.hold(1).signal(SIGUSR1).wait_log("error log file re-opened").release();
        });
        plays.add(&format!("moved away, {name}"), manager(page()), |scene| {
            scene.rename("error.log", "error.log.1").signal(SIGUSR1).wait_log("re-opened");
            scene.stop(SIGTERM).read("error.log.1");
        });
    }
    plays.add("three times", page(), |scene| {
        for times in 1..4 {
            scene.signal(SIGUSR1).wait_log_times("error log file re-opened", times);
        }
    });
    plays.run();
}

#[test]
fn reload_and_what_follows() {
    let mut plays = Plays::default();
    for (name, manager) in MANAGERS {
        for signal in [SIGUSR2, SIGHUP] {
            plays.add(&format!("{signal}, {name}"), manager(page()), move |scene| {
                scene.signal(signal).wait_ready(2).get("/x.php").tree().stop(SIGTERM);
            });
        }
        plays.add(&format!("USR1 after USR2, {name}"), manager(page()), |scene| {
            scene.signal(SIGUSR2).wait_ready(2).signal(SIGUSR1).wait_log("re-opened").get("/x.php");
        });
        plays.add(&format!("QUIT after USR2, {name}"), manager(page()), |scene| {
            scene.signal(SIGUSR2).wait_ready(2).stop(SIGQUIT);
        });
    }
    plays.run();
}

#[test]
fn signals_to_idle_workers() {
    let mut plays = Plays::default();
    for signal in
        [SIGTERM, SIGINT, SIGQUIT, SIGKILL, Signal::SIGSEGV, Signal::SIGABRT, SIGHUP, SIGUSR1, SIGUSR2]
    {
        plays.add(&format!("{signal}"), page(), move |scene| {
            scene.get("/x.php").end_worker("www", signal).wait_log("started").get("/x.php").tree();
        });
    }
    plays.run();
}

#[test]
fn signals_to_busy_workers() {
    let mut plays = Plays::default();
    let alone = || slow().www("pm.max_children = 1");
    for signal in [SIGTERM, SIGINT, SIGKILL, SIGUSR1, SIGUSR2, Signal::SIGSEGV, Signal::SIGBUS] {
        plays.add(&format!("{signal}"), alone(), move |scene| {
            scene.hold(1).end_worker("www", signal).replies().wait_log("started").tree();
        });
    }
    plays.add("SIGQUIT waits for the request", alone(), |scene| {
        scene.hold(1).signal_worker("www", SIGQUIT).release().wait_log("started").tree();
    });
    plays.run();
}

#[test]
fn a_worker_that_ends_itself() {
    let mut plays = Plays::default();
    let code = "<?php echo 'begun'; flush(); posix_kill(getmypid(), (int) $_GET['signal']); usleep(100000); echo 'alive';";
    for signal in [SIGTERM, SIGKILL, Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGFPE] {
        let setup = page().script("end.php", code).www("php_flag[output_buffering] = off");
        plays.add(&format!("{signal}"), setup, move |scene| {
            scene.get(&format!("/end.php?signal={}", signal as i32)).wait_log("started").get("/x.php");
        });
    }
    plays.run();
}

#[test]
fn a_worker_that_is_stopped_and_goes_on() {
    let mut plays = Plays::default();
    plays
        .add("STOP and CONT", slow().www("pm.max_children = 1"), |scene| {
            scene
                .hold(1)
                .signal_worker("www", Signal::SIGSTOP)
                .signal_worker("www", Signal::SIGCONT)
                .release();
        })
        .differs("php-fpm takes a stopped worker for one that it traces, and says so");
    plays.run();
}
