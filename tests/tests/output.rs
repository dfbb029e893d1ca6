//! What workers write to their standard output and error, with every combination of the directives that decide what
//! becomes of it; and error_log() beside them.

use cornac_tests::{Plays, Setup};

/// Text of scripts that write in one way each.
const WAYS: [(&str, &str); 9] = [
    ("stderr, one line", "<?php file_put_contents('php://stderr', \"one line\\n\");"),
    ("stderr, no newline", "<?php file_put_contents('php://stderr', 'no newline');"),
    ("stderr, three lines", "<?php file_put_contents('php://stderr', \"a\\nb\\n\\nc\\n\");"),
    ("stderr, long line", "<?php file_put_contents('php://stderr', str_repeat('x', 1500) . \"\\n\");"),
    ("stdout stream", "<?php file_put_contents('php://stdout', \"to stdout\\n\");"),
    ("descriptor 1 of a child", "<?php system('echo to descriptor 1 >&2');"),
    ("error_log()", "<?php error_log('a message');"),
    ("error_log() with newline", "<?php error_log(\"two\\nlines\");"),
    ("warning", "<?php echo $undefined;"),
];

#[test]
fn of_workers() {
    let variants = [
        ("caught", "catch_workers_output = yes"),
        ("caught, plain", "catch_workers_output = yes\ndecorate_workers_output = no"),
        ("not caught", "catch_workers_output = no"),
    ];
    let mut plays = Plays::default();
    for (variant, lines) in variants {
        for (way, code) in WAYS {
            let setup = Setup::new().www(lines).www("php_flag[log_errors] = on").script("x.php", code);
            plays.add(&format!("{way}, {variant}"), setup, |scene| {
                scene.get("/x.php");
            });
        }
    }
    plays.run();
}

#[test]
fn at_other_levels_and_limits() {
    let mut plays = Plays::default();
    for level in ["warning", "error", "alert"] {
        let setup = Setup::new()
            .global(&format!("log_level = {level}"))
            .www("catch_workers_output = yes")
            .script("x.php", "<?php error_log(str_repeat('message ', 300)); error_log('a message'); file_put_contents('php://stderr', \"raw\\n\");")
            .quiet();
        let play = plays.add(level, setup, |scene| {
            scene.get("/x.php");
        });
        if level != "warning" {
            play.without_log();
        }
    }
    let debug = Setup::new()
        .global("log_level = debug")
        .www("catch_workers_output = yes")
        .script("x.php", "<?php error_log('short');");
    // The log is full of what only one of the two says.
    plays
        .add("debug", debug, |scene| {
            scene.get("/x.php");
        })
        .without_log();
    for limit in [512, 1024, 4000] {
        let setup = Setup::new()
            .global(&format!("log_limit = {limit}"))
            .www("catch_workers_output = yes")
            .script("x.php", "<?php error_log(str_repeat('m', 3000));");
        plays.add(&format!("log_limit = {limit}"), setup, |scene| {
            scene.get("/x.php");
        });
    }
    let direct = Setup::new()
        .global("log_buffering = no")
        .www("catch_workers_output = yes")
        .script("x.php", "<?php file_put_contents('php://stderr', \"whole line\\n\");");
    plays.add("log_buffering = no", direct, |scene| {
        scene.get("/x.php");
    });
    plays.run();
}
