//! Ends that interrupt nothing: what a script notices, and who is answered, while workers are asked to finish.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cornac_tests::{Pair, Plays, Setup, Side, Signal, wait};

use Signal::{SIGQUIT, SIGUSR1, SIGUSR2};

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
