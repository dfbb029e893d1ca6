//! Pools whose scripts mean harm: whatever they do with what their workers hold, the master goes on.

use cornac_tests::{Client, Request, Server, Setup, Side, Signal, skip_unless_root};
use nix::sys::stat::Mode;

/// The master answers: a signal is acted on.
fn expect_master_goes_on(server: &Server) {
    let text = "error log file re-opened";
    let before = server.log().matches(text).count();
    server.signal(Signal::SIGUSR1);
    server.wait_log_times(text, before + 1);
}

/// What wakes the master belongs to the workers as well: they write to it, read from it, and change its flags.
#[test]
fn who_is_woken_without_end_does_not_wait_for_more() {
    let script = "<?php
        $c = FFI::cdef('long read(int, void *, long); long write(int, const void *, long);
                        int fcntl(int, int, ...);');
        $blocking = fn($blocking) => $c->fcntl(10, 4, $blocking ? 0 : 04000); // F_SETFL, O_NONBLOCK
        $bytes = FFI::new('char[4096]');
        for ($end = microtime(true) + 2; microtime(true) < $end;) {
            $blocking(false);
            $c->write(10, $bytes, 1);
            if ($_GET['read'] ?? false) { $c->read(10, $bytes, 4096); }
            $blocking(true);
        }
        echo 'done';";
    let dynamic = "pm = dynamic\npm.max_children = 4\npm.start_servers = 2\npm.min_spare_servers = 1\n\
                   pm.max_spare_servers = 3\nphp_admin_value[ffi.enable] = 1\n";
    let setup = Setup::new().www(dynamic).pool("other", "").script("wake.php", script);
    for query in ["", "?read=1"] {
        let server = Server::start(Side::Subject, &setup);
        assert_eq!(server.get(&format!("/wake.php{query}")).body(), "done");
        expect_master_goes_on(&server);
        server.stop();
    }
}

/// Whoever has the pool's user may stop every process of that user, a fork server that is about to begin as well.
#[test]
fn a_fork_server_stopped_at_its_birth_keeps_nobody_waiting() {
    if skip_unless_root("a fork server stopped at its birth", 1) {
        return;
    }
    let script = "<?php
        $server = posix_getppid();
        $master = (int)explode(' ', explode(') ', file_get_contents(\"/proc/$server/stat\"))[1])[1];
        posix_kill($server, 9);
        for ($stopped = false, $end = microtime(true) + 3; !$stopped && microtime(true) < $end;) {
            $children = explode(' ', trim(file_get_contents(\"/proc/$master/task/$master/children\")));
            foreach (array_diff($children, [getmypid(), $server]) as $child) {
                $stopped = $stopped || posix_kill((int)$child, 19);
            }
        }
        echo $stopped ? 'done' : 'too late';";
    let setup = Setup::new().script("stop.php", script);
    let server = Server::start(Side::Subject, &setup);
    assert_eq!(server.get("/stop.php").body(), "done");
    expect_master_goes_on(&server);
    server.stop();
}

/// The folder of a log may be the pool's user's.
#[test]
fn logs_that_nobody_reads_keep_nobody_waiting() {
    let lines = "access.log = {dir}/access.log\nslowlog = {dir}/slow.log\nrequest_slowlog_timeout = 1\n";
    let setup = Setup::new().www(lines).script("slow.php", "<?php usleep(1500000); echo 'done';");
    let server = Server::start(Side::Subject, &setup);
    for name in ["access.log", "slow.log"] {
        let _ = std::fs::remove_file(server.dir().join(name));
        nix::unistd::mkfifo(&server.dir().join(name), Mode::S_IRWXU).expect("own folder");
    }
    (0..2).for_each(|_| expect_master_goes_on(&server));
    assert_eq!(server.get("/slow.php").body(), "done");
    server.wait_log("finished trace of");
    expect_master_goes_on(&server);
    server.stop();
}

/// A worker may write whatever it likes over the scoreboard, its own master's side of it too.
#[test]
fn a_scoreboard_full_of_nonsense_harms_its_own_pool_alone() {
    let script = "<?php
        $c = FFI::cdef('void *memcpy(void *, const void *, unsigned long);');
        preg_match('/^([0-9a-f]+)-([0-9a-f]+) rw.*cornac-scoreboard/m', file_get_contents('/proc/self/maps'), $at);
        $length = min(hexdec($at[2]) - hexdec($at[1]), (int)$_GET['length']);
        $address = FFI::new('unsigned long');
        $address->cdata = hexdec($at[1]);
        $board = FFI::cast('char *', $address);
        for ($end = microtime(true) + 2; microtime(true) < $end; usleep(500)) {
            // Small numbers here and there: stages, process ids, counts.
            $nonsense = random_bytes($length);
            if (mt_rand(0, 1)) { $nonsense &= str_repeat(\"\\x07\\0\\0\\0\", $length / 4 + 1); }
            FFI::memcpy($board, substr($nonsense, 0, $length), $length);
        }
        echo 'done';";
    let managers = [
        "pm = dynamic\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3",
        "pm = ondemand\npm.process_idle_timeout = 1",
        "pm = static",
    ];
    for manager in managers {
        let lines = format!(
            "{manager}\npm.max_children = 4\nphp_admin_value[ffi.enable] = 1\nslowlog = {{dir}}/slow.log\n\
             request_slowlog_timeout = 1\nrequest_terminate_timeout = 30\npm.status_path = /status\n"
        );
        let setup = Setup::new().www(&lines).pool("other", "").script("board.php", script);
        let setup = setup.script("hello.php", "<?php echo 'hello';");
        for length in [192, 1 << 20] {
            let server = Server::start(Side::Subject, &setup);
            let before = cpu_time(server.master());
            server.get(&format!("/board.php?length={length}"));
            let used = cpu_time(server.master()) - before;
            assert!(used < 100, "the master was busy for {used} of 200 ticks\n{}", server.log());
            expect_master_goes_on(&server);
            let other = Client::unix(&server.socket("other")).send(&Request::get(&server, "/hello.php"));
            assert_eq!(other.body(), "hello");
            server.stop();
        }
    }
}

/// The listening socket is shared: a worker may shut it down for all.
#[test]
fn a_socket_that_is_shut_down_starts_no_storm_of_workers() {
    let script = "<?php FFI::cdef('int shutdown(int, int);')->shutdown(4, 2); echo 'done';";
    for manager in ["pm = static", "pm = ondemand"] {
        let lines = format!("{manager}\npm.max_children = 2\nphp_admin_value[ffi.enable] = 1\n");
        let server = Server::start(Side::Subject, &Setup::new().www(&lines).script("shut.php", script));
        assert_eq!(server.get("/shut.php").body(), "done");
        server.wait_log_times("ended within a second of their start, waiting", 3);
        let ended = server.log().matches(" exited ").count();
        assert!(ended < 20, "{manager}: {ended} workers ended");
        expect_master_goes_on(&server);
        server.stop();
    }
}

/// CPU time of a process in ticks, a hundredth of a second each.
fn cpu_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields = stat.rsplit_once(") ").expect("a name").1.split(' ');
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}
