//! The process tree and what becomes of workers: titles and users, max_requests, crashes, emergency restart, limits on
//! the number of processes, steady states of the managers.

use cornac_tests::scene::slow;
use cornac_tests::{Plays, Setup, Signal, skip_unless_root};

use Signal::{SIGKILL, SIGSEGV, SIGTERM};

const PAGE: &str = "<?php echo 'x';";
const CRASH: &str = "<?php posix_kill(getmypid(), 11); usleep(500000);";

fn page() -> Setup {
    Setup::new().script("x.php", PAGE).script("crash.php", CRASH)
}

fn dynamic(max: u32, start: u32, least: u32, most: u32) -> String {
    format!(
        "pm = dynamic\npm.max_children = {max}\npm.start_servers = {start}\npm.min_spare_servers = {least}\n\
         pm.max_spare_servers = {most}"
    )
}

#[test]
fn trees() {
    let mut plays = Plays::default();
    plays.add("one worker", page(), |scene| {
        scene.visit("/x.php").tree();
    });
    plays.add("five workers", page().www("pm.max_children = 5"), |scene| {
        scene.wait_workers("www", 5).tree();
    });
    plays.add("three pools", page().pool("api", "").pool("odd.name-1", "pm.max_children = 2"), |scene| {
        scene.wait_workers("www", 1).wait_workers("api", 1).wait_workers("odd.name-1", 2).tree();
    });
    plays.add("dynamic", page().www(&dynamic(9, 4, 2, 6)), |scene| {
        scene.wait_workers("www", 4).tree();
    });
    plays.add("ondemand, idle", page().www("pm = ondemand\npm.max_children = 4"), |scene| {
        scene.tree();
    });
    plays.add("ondemand, used", page().www("pm = ondemand\npm.max_children = 4"), |scene| {
        scene.visit("/x.php").wait_workers("www", 1).tree();
    });
    plays.add("in the background", page().daemon(), |scene| {
        scene.visit("/x.php").wait_workers("www", 1).tree();
    });
    plays.add("long pool name", page().pool(&"p".repeat(60), ""), |scene| {
        scene.wait_workers(&"p".repeat(60), 1).tree();
    });
    plays.run();
}

#[test]
fn users_of_processes() {
    if skip_unless_root("users of processes", 3) {
        return;
    }
    let mut plays = Plays::default();
    plays.add("two users", page().pool("api", "user = nobody\ngroup = nogroup"), |scene| {
        scene.wait_workers("www", 1).wait_workers("api", 1).tree();
    });
    plays.add("root", page().www("user = root\ngroup = root").arg("-R"), |scene| {
        scene.wait_workers("www", 1).tree();
    });
    plays.add("another group", page().www("group = daemon"), |scene| {
        scene.wait_workers("www", 1).tree();
    });
    plays.run();
}

#[test]
fn max_requests() {
    let mut plays = Plays::default();
    let managers = [
        ("static", "pm.max_children = 1".to_owned()),
        ("dynamic", dynamic(1, 1, 1, 1)),
        ("ondemand", "pm = ondemand\npm.max_children = 1".to_owned()),
    ];
    for (name, manager) in managers {
        for requests in [1, 3] {
            let setup = page().www(&manager).www(&format!("pm.max_requests = {requests}"));
            let play = plays.add(&format!("{requests}, {name}"), setup, move |scene| {
                for _ in 0..requests {
                    scene.get("/x.php");
                }
                scene.wait_log("exited with code 0").get("/x.php");
            });
            play.without_log();
        }
    }
    plays.add("2, told at debug level", page().www("pm.max_requests = 2"), |scene| {
        scene.get("/x.php").get("/x.php").wait_log_times("started", 1).get("/x.php");
    });
    plays.run();
}

#[test]
fn crashes() {
    let mut plays = Plays::default();
    plays.add("by itself, others serve", page().www("pm.max_children = 2"), |scene| {
        scene.visit("/crash.php").wait_log("started").get("/x.php").tree();
    });
    plays.add("with output caught", page().www("catch_workers_output = yes"), |scene| {
        scene.visit("/crash.php").wait_log("started").get("/x.php");
    });
    plays
        .add("dynamic", page().www(&dynamic(3, 1, 1, 2)), |scene| {
            scene.visit("/crash.php").wait_log("exited on signal 11").get("/x.php");
        })
        .without_log();
    plays
        .add("ondemand", page().www("pm = ondemand\npm.max_children = 2"), |scene| {
            scene.visit("/crash.php").wait_log("exited on signal 11").get("/x.php");
        })
        .without_log();
    for (name, code) in [("exit code of a script", "<?php exit(7);"), ("exit(0)", "<?php exit(0);")] {
        plays.add(name, page().script("y.php", code), |scene| {
            scene.get("/y.php").get("/x.php").tree();
        });
    }
    plays.add("killed while busy and reconnected", slow().www("pm.max_children = 1"), |scene| {
        scene.hold(1).end_worker("www", SIGKILL).replies().wait_log("started").hold(1).release();
    });
    plays.run();
}

#[test]
fn emergency_restart() {
    let mut plays = Plays::default();
    let crash = |scene: &mut cornac_tests::Scene, times: usize| {
        for time in 1..=times {
            scene.visit("/crash.php").wait_log_times("exited on signal 11", time);
        }
    };
    plays.add(
        "below the threshold",
        page().global("emergency_restart_threshold = 3\nemergency_restart_interval = 60s"),
        move |scene| {
            crash(scene, 2);
            scene.wait_log_times("started", 2).get("/x.php");
        },
    );
    plays.add("switched off", page(), move |scene| {
        crash(scene, 2);
        scene.wait_log_times("started", 2).get("/x.php");
    });
    plays.add(
        "killed workers do not count",
        page().global("emergency_restart_threshold = 1\nemergency_restart_interval = 60s"),
        |scene| {
            scene.end_worker("www", SIGKILL).wait_log("started").end_worker("www", SIGTERM);
            scene.wait_log_times("started", 2).get("/x.php");
        },
    );
    let reached = page().global("emergency_restart_threshold = 2\nemergency_restart_interval = 60s");
    plays
        .add("reached", reached, move |scene| {
            crash(scene, 2);
            scene.wait_log("failed processes threshold");
        })
        .without_log();
    plays.run();
}

#[test]
fn limits_on_processes() {
    let mut plays = Plays::default();
    plays.add("max_children of static", slow().www("pm.max_children = 3"), |scene| {
        scene.hold(3).tree().release();
    });
    plays
        .add("max_children of dynamic", slow().www(&dynamic(2, 1, 1, 1)), |scene| {
            scene.hold(2).wait_log("reached pm.max_children setting (2)").wait_workers("www", 2).release();
        })
        .without_log();
    plays
        .add("max_children of ondemand", slow().www("pm = ondemand\npm.max_children = 2"), |scene| {
            scene.hold(2).wait_workers("www", 2).release();
        })
        .log_in_any_order();
    plays
        .add("process.max of dynamic", slow().global("process.max = 2").www(&dynamic(5, 1, 1, 2)), |scene| {
            scene.hold(2).wait_log("consider raising 'process.max'").wait_workers("www", 2).release();
        })
        .without_log();
    plays.run();
}

#[test]
fn steady_states() {
    let mut plays = Plays::default();
    for (start, least, most, settled) in [(1, 1, 1, 1), (2, 1, 3, 2), (4, 4, 6, 4), (6, 1, 6, 6)] {
        let setup = page().www(&dynamic(8, start, least, most));
        plays.add(&format!("dynamic {start} {least} {most}"), setup, move |scene| {
            scene.wait_workers("www", settled).visit("/x.php").wait_workers("www", settled);
        });
    }
    for idle in [1, 2] {
        let setup = slow()
            .www("pm = ondemand\npm.max_children = 5")
            .www(&format!("pm.process_idle_timeout = {idle}s"));
        plays
            .add(&format!("ondemand, idle after {idle} s"), setup, |scene| {
                scene.hold(3).wait_workers("www", 3).release().wait_workers("www", 0);
            })
            .log_in_any_order();
    }
    plays
        .add("dynamic shrinks to max_spare", slow().www(&dynamic(6, 1, 1, 2)), |scene| {
            scene.hold(3).wait_workers("www", 4).release().wait_workers("www", 2);
        })
        .without_log();
    plays.add("a killed worker of several", page().www("pm.max_children = 3"), |scene| {
        scene.wait_workers("www", 3).end_worker("www", SIGSEGV).wait_log("started").wait_workers("www", 3);
    });
    plays.run();
}
