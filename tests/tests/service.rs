//! As a service of a system without systemd: in the background, found by its pid file, driven by start-stop-daemon, its
//! logs turned over by logrotate.

use cornac_tests::installed::has_program;
use cornac_tests::scene::slow;
use cornac_tests::{Plays, Setup, Signal};

const FORKS_AGAIN: &str =
    "a reload in the background forks again in php-fpm: another process id, sockets named twice";

fn page() -> Setup {
    Setup::new().script("x.php", "<?php echo 'x';")
}

#[test]
fn in_the_background() {
    let mut plays = Plays::default();
    plays.add("files and tree", page().daemon(), |scene| {
        scene.wait_workers("www", 1).tree().files().get("/x.php").stop(Signal::SIGTERM);
    });
    plays.add("by directive", page().global("daemonize = yes").daemon(), |scene| {
        scene.get("/x.php").stop(Signal::SIGQUIT);
    });
    plays.add("-D overrides the directive", page().global("daemonize = no").arg("-D").daemon(), |scene| {
        scene.get("/x.php").stop(Signal::SIGINT);
    });
    plays.add("-F overrides the directive", page().global("daemonize = yes"), |scene| {
        scene.get("/x.php").tree().stop(Signal::SIGTERM);
    });
    plays
        .add("reload", page().daemon(), |scene| {
            let before = scene.server().master();
            scene.signal(Signal::SIGUSR2).wait_ready(2).get("/x.php");
            let same = before == scene.server().master();
            scene.note(format!("same process {same}")).stop(Signal::SIGTERM);
        })
        .differs(FORKS_AGAIN);
    plays.add("a request in flight", slow().global("process_control_timeout = 10").daemon(), |scene| {
        scene.hold(1).signal(Signal::SIGQUIT).wait_log("Finishing ...").release().gone();
    });
    plays.refused("no folder for the pid file", page().global("pid = {dir}/none/x.pid"));
    plays.refused(
        "in the background, no folder for the log",
        page().global("error_log = {dir}/none/x.log").arg("-D"),
    );
    plays.run();
}

#[test]
fn pid_files() {
    let mut plays = Plays::default();
    plays.add("left over", page().file("php-fpm.pid", "99999999"), |scene| {
        scene.get("/x.php").stop(Signal::SIGTERM);
    });
    plays.add("removed meanwhile", page(), |scene| {
        scene.rename("php-fpm.pid", "other").stop(Signal::SIGTERM);
    });
    plays.refused("an empty name", page().global("pid ="));
    plays.add("after a reload", page(), |scene| {
        scene.signal(Signal::SIGUSR2).wait_ready(2).files().stop(Signal::SIGTERM);
    });
    plays.add("under its prefix", page().arg("-g").arg("{dir}/given.pid"), |scene| {
        scene.files().stop(Signal::SIGTERM);
    });
    plays.run();
}

/// As the init scripts of Debian do it.
#[test]
fn start_stop_daemon() {
    if !has_program("start-stop-daemon") {
        return;
    }
    let start = "exec start-stop-daemon --start --quiet --pidfile \"$0.pid\" --exec \"$0\" -- \"$@\"";
    let started = || page().daemon().wrapped(&["/bin/sh", "-c", start]);
    let who = ["--quiet", "--pidfile", "{dir}/php-fpm.pid", "--exec", "{dir}/php-fpm"];
    let act = move |scene: &mut cornac_tests::Scene, words: &[&str]| {
        scene.run("start-stop-daemon", &[words, &who].concat());
    };
    let mut plays = Plays::default();
    plays.add("start, status, stop, status", started(), move |scene| {
        scene.get("/x.php");
        act(scene, &["--status"]);
        act(scene, &["--stop", "--retry=TERM/20/KILL/5"]);
        act(scene, &["--status"]);
        act(scene, &["--stop", "--oknodo"]);
        scene.gone();
    });
    plays.add("stop by QUIT", started(), move |scene| {
        act(scene, &["--stop", "--retry=QUIT/20/TERM/5"]);
        scene.gone();
    });
    let play = plays.add("reload and reopen", started(), move |scene| {
        act(scene, &["--stop", "--signal=USR2"]);
        scene.wait_ready(2);
        act(scene, &["--stop", "--signal=USR1"]);
        scene.wait_log("re-opened").get("/x.php");
        act(scene, &["--stop", "--retry=TERM/20/KILL/5"]);
        scene.gone();
    });
    play.differs(FORKS_AGAIN);
    plays.run();
}

#[test]
fn logrotate() {
    if !has_program("logrotate") {
        return;
    }
    let rotate = "{dir}/error.log {dir}/access.log {\n  rotate 3\n  missingok\n  create 0640\n  sharedscripts\n  \
                  postrotate\n    kill -USR1 $(cat {dir}/php-fpm.pid)\n  endscript\n}\n";
    let setup = || {
        page().www("access.log = {dir}/access.log\naccess.format = \"%m %r %s\"").file("rotate.conf", rotate)
    };
    let turn = |scene: &mut cornac_tests::Scene, times: usize| {
        scene.run("logrotate", &["-f", "-s", "{dir}/rotate.state", "{dir}/rotate.conf"]);
        scene
            .wait_file("error.log", "access log file re-opened")
            .wait_file(&format!("error.log.{times}"), "ready");
    };
    let mut plays = Plays::default();
    for (name, workers) in [("one worker", 1), ("several workers", 3)] {
        plays
            .add(name, setup().www(&format!("pm.max_children = {workers}")), move |scene| {
                scene.visit("/x.php");
                turn(scene, 1);
                // Only the successors of the workers have the new file.
                scene
                    .wait_log_times("started", workers)
                    .visit("/x.php")
                    .wait_file("access.log", "GET")
                    .read("access.log")
                    .read("access.log.1");
                scene.read("error.log.1");
                turn(scene, 2);
                scene.files().stop(Signal::SIGTERM);
            })
            .without_log();
    }
    plays
        .add("in the background", setup().daemon(), move |scene| {
            scene.visit("/x.php");
            turn(scene, 1);
            scene.wait_log("started").visit("/x.php").wait_file("access.log", "GET");
            scene.read("access.log").read("error.log");
        })
        .without_log();
    plays.run();
}
