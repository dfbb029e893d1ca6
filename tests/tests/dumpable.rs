//! Who may be traced, beside php-fpm: seen by the owner of a worker's files in /proc, and by whether a master without
//! CAP_SYS_PTRACE gets a backtrace.

use cornac_tests::compare::mask;
use cornac_tests::{Case, Pair, Server, Setup, compare_runs, skip_unless_root};

const LOOK: &str =
    "<?php echo fileowner('/proc/self/fd'), ' ', is_readable('/proc/self/environ') ? 'own' : 'not own';";

#[test]
fn workers_own_themselves_or_not() {
    if skip_unless_root("dumpable workers", 4) {
        return;
    }
    for (name, setup) in [
        ("root becomes the pool's user", Setup::new()),
        ("the same, dumpable", Setup::new().www("process.dumpable = yes")),
        ("an ordinary user", Setup::new().unprivileged()),
        ("an ordinary user, dumpable", Setup::new().www("process.dumpable = yes").unprivileged()),
    ] {
        let mut pair = Pair::start(&setup);
        pair.case(&Case::php(name, LOOK));
        pair.ignore_log();
        pair.finish();
    }
}

#[test]
fn workers_that_stay_root_have_backtraces() {
    if skip_unless_root("backtraces of workers that run as root", 1) {
        return;
    }
    let setup = Setup::new()
        .www("user = root\ngroup = root\nslowlog = {dir}/slow.log\nrequest_slowlog_timeout = 1")
        .script("nap.php", "<?php usleep(1800000);")
        .wrapped(&["setpriv", "--bounding-set", "-sys_ptrace"])
        .arg("-R");
    compare_runs("root, without CAP_SYS_PTRACE", None, |side| {
        let server = Server::start(side, &setup);
        server.get("/nap.php");
        server.wait_log("finished trace of");
        let text = server.read("slow.log");
        let text: Vec<&str> =
            text.lines().map(|line| line.split_once("] u").map_or(line, |rest| rest.1)).collect();
        let text = mask(&server, &text.join("\n"), &[]);
        server.stop();
        text
    });
}
