//! The wall clock jumps, hours back and years ahead: no limit fires, nobody is ended, no request is lost. The clock is a
//! preloaded library that adds what a file says to the kernel's, in every process of the server.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use cornac_tests::traffic::served;
use cornac_tests::{Manner, Server, Setup, Side, Signal, Traffic, wait};

use super::{line_with, say};

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *offset;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CORNAC_TEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
	if (fd >= 0) close(fd);
	if (map != MAP_FAILED) offset = map;
}

static long ahead(clockid_t id)
{
	return offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) ? *offset : 0;
}

int clock_gettime(clockid_t id, struct timespec *time)
{
	int result = syscall(SYS_clock_gettime, id, time);
	if (result == 0) time->tv_sec += ahead(id);
	return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	int result = syscall(SYS_gettimeofday, time, zone);
	if (result == 0 && time) time->tv_sec += ahead(CLOCK_REALTIME);
	return result;
}

time_t time(time_t *where)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (where) *where = now.tv_sec;
	return now.tv_sec;
}
"#;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

fn build(folder: &std::path::Path) -> String {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, CLOCK).expect("own folder");
    let done = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).args([&library, &source]).output();
    let done = done.expect("a C compiler is needed, as for the engine");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    library.to_string_lossy().into_owned()
}

#[test]
fn the_clock_jumps() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let library = build(folder.path());
    for side in [Side::Reference, Side::Subject] {
        let setup = served(Setup::new())
            .file("clock", 0i64.to_ne_bytes())
            .file("clock.so", std::fs::read(&library).expect("just built"))
            .env("LD_PRELOAD", "{dir}/clock.so")
            .env("CORNAC_TEST_CLOCK", "{dir}/clock")
            .script("now.php", "<?php echo time();")
            .global("process_control_timeout = 10\nemergency_restart_threshold = 1\nemergency_restart_interval = 1m")
            .www("pm = dynamic\npm.max_children = 4\npm.start_servers = 4\npm.min_spare_servers = 1")
            .www("pm.max_spare_servers = 4\nrequest_terminate_timeout = 20\nrequest_slowlog_timeout = 10")
            .www("slowlog = {dir}/slow.log\npm.status_path = /status\naccess.log = {dir}/access.log")
            .pool("asleep", "pm = ondemand\npm.process_idle_timeout = 60s");
        let server = Server::start(side, &setup);
        let now = || server.get("/now.php").body().parse::<i64>().expect("seconds");
        let start = now();
        let sleeps = Duration::from_millis(20);
        let traffic = Traffic::begin(&server, Manner { clients: 3, sleeps, ..Manner::default() });
        traffic.go_on(&server, 50);
        let set = |jump: i64| {
            // Into the very page that the processes have mapped.
            let file = File::options().write(true).open(server.dir().join("clock")).expect("own file");
            file.write_all_at(&jump.to_ne_bytes(), 0).expect("own file");
        };
        for jump in [-HOUR, HOUR, -YEAR, 10 * YEAR, 0] {
            set(jump);
            assert!((now() - start - jump).abs() < 100, "{side:?}: the script sees the jump");
            // Longer than a look of the process manager and a heartbeat.
            let until = Instant::now() + Duration::from_millis(1500);
            wait::until(|| (Instant::now() > until).then_some(()));
            traffic.go_on(&server, 50);
        }
        let tally = traffic.end();
        say("the clock jumps", side, &tally);
        tally.expect_none_lost(&server, 300);
        let log = server.log();
        for event in ["exited", "timed out", "too slow", "threshold", "fork server"] {
            assert!(!log.contains(event), "{side:?}: {event}\n{log}");
        }
        // The master sees the jump as well.
        set(10 * YEAR);
        server.signal(Signal::SIGUSR1);
        let year = |line: String| line.get(8..12).and_then(|year| year.parse::<u32>().ok()).expect("a year");
        let later = line_with(&server, "error log file re-opened", 1);
        assert!(
            year(later) >= year(line_with(&server, "ready to handle", 1)) + 9,
            "{side:?}: {}",
            server.log()
        );
        server.stop_with(Signal::SIGQUIT);
    }
}
