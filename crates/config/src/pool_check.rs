//! The checks of one pool, in php-fpm's order and words.

use std::path::Path;

use crate::log::{Fatal, Log, errno_suffix};
use crate::model::{bytes_path, path_bytes};
use crate::paths::{Bases, absolute, absolute_expanding, resolve};
use crate::{Diagnostic, Host, Level, LogKind, Options, PhpValue, Pool, ProcessManager};

/// What the checks need to know besides the pool.
pub(crate) struct Machine<'a> {
    pub(crate) options: &'a Options,
    pub(crate) host: &'a dyn Host,
    /// Whether the event mechanism serves ondemand pools.
    pub(crate) edge_trigger: bool,
}

/// A pool under check, with its name in front of each message.
struct Check<'a> {
    pool: &'a mut Pool,
    machine: &'a Machine<'a>,
    log: &'a mut Log,
}

/// php-fpm's default of `listen.backlog` on Linux.
const BACKLOG_DEFAULT: i32 = -1;

/// Checks the pool with this index; gives back the hidden pool of its `pm.status_listen`, if any.
pub(crate) fn check_pool(
    pool: &mut Pool,
    index: usize,
    machine: &Machine<'_>,
    log: &mut Log,
) -> Result<Option<Pool>, Fatal> {
    let is_status_pool = pool.status_of.is_some();
    let mut check = Check { pool, machine, log };
    check.prefix()?;
    check.user()?;
    check.listen()?;
    check.priority()?;
    check.process_manager(is_status_pool)?;
    let status_pool = check.status_pool(index);
    check.status_path(is_status_pool)?;
    check.ping()?;
    check.access_log();
    check.slow_log()?;
    check.chroot()?;
    check.chdir()?;
    check.extensions();
    check.php_paths();
    Ok(status_pool)
}

impl Check<'_> {
    fn fail(&mut self, level: Level, directive: &str, parts: &[&[u8]], hint: &str) -> Fatal {
        let text = [b"[pool ", self.pool.name.as_slice(), b"] ", &parts.concat()].concat();
        self.log.fatal(level, &[&text], self.pool.places.get(directive), hint)
    }

    fn alert(&mut self, directive: &str, text: &str, hint: &str) -> Fatal {
        self.fail(Level::Alert, directive, &[text.as_bytes()], hint)
    }

    fn error(&mut self, directive: &str, parts: &[&[u8]], hint: &str) -> Fatal {
        self.fail(Level::Error, directive, parts, hint)
    }

    fn mention(&mut self, level: Level, directive: &str, text: &str) {
        let text = [b"[pool ", self.pool.name.as_slice(), b"] ", text.as_bytes()].concat();
        let place = self.pool.places.get(directive).cloned();
        self.log.push(Diagnostic::new(level, text).at(place));
    }

    fn bases(&self) -> Bases<'_> {
        Bases::of(self.machine.options)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.machine.host.is_directory(path)
    }

    fn prefix(&mut self) -> Result<(), Fatal> {
        if self.pool.prefix.as_ref().is_none_or(|p| p.as_os_str().is_empty()) {
            return Ok(());
        }
        resolve(&mut self.pool.prefix, None, &Bases::of(self.machine.options));
        let prefix = self.pool.prefix.clone().unwrap_or_default();
        if self.is_directory(&prefix) {
            return Ok(());
        }
        let text = [b"the prefix '", path_bytes(&prefix), b"' does not exist or is not a directory"];
        Err(self.error("prefix", &text, ""))
    }

    fn user(&mut self) -> Result<(), Fatal> {
        let options = self.machine.options;
        if self.pool.user.is_some() || !options.is_root || options.allow_root {
            return Ok(());
        }
        Err(self.alert("user", "user has not been defined", "add a line to the pool: user = www-data"))
    }

    fn listen(&mut self) -> Result<(), Fatal> {
        let listen = &self.pool.listen;
        if listen.is_empty() {
            let hint = "add a line to the pool: listen = /run/php/$pool.sock";
            return Err(self.alert("listen", "no listen address have been defined!", hint));
        }
        let is_network = listen.contains(&b':') || listen.iter().all(u8::is_ascii_digit);
        if !is_network {
            self.pool.listen = absolute(listen.clone(), self.pool.prefix.as_deref(), &self.bases());
        }
        Ok(())
    }

    fn priority(&mut self) -> Result<(), Fatal> {
        if self.pool.process_priority.is_some_and(|n| !(-19..=20).contains(&n)) {
            let text = b"process.priority must be included into [-19,20]";
            return Err(self.error("process.priority", &[text], ""));
        }
        Ok(())
    }

    fn process_manager(&mut self, is_status_pool: bool) -> Result<(), Fatal> {
        if !is_status_pool && !self.pool.places.contains_key("pm") {
            let text = "the process manager is missing (static, dynamic or ondemand)";
            return Err(self.alert("pm", text, "add a line to the pool: pm = dynamic"));
        }
        if self.pool.pm_max_children < 1 {
            let hint = "add a line to the pool: pm.max_children = 5";
            return Err(self.alert("pm.max_children", "pm.max_children must be a positive value", hint));
        }
        match self.pool.pm {
            ProcessManager::Static => Ok(()),
            ProcessManager::Dynamic => self.dynamic(),
            ProcessManager::Ondemand => self.ondemand(),
        }
    }

    fn dynamic(&mut self) -> Result<(), Fatal> {
        let (min, max) = (self.pool.pm_min_spare_servers, self.pool.pm_max_spare_servers);
        let (start, children) = (self.pool.pm_start_servers, self.pool.pm_max_children);
        if min <= 0 {
            let text = format!("pm.min_spare_servers({min}) must be a positive value");
            return Err(self.alert("pm.min_spare_servers", &text, ""));
        }
        if max <= 0 {
            let text = format!("pm.max_spare_servers({max}) must be a positive value");
            return Err(self.alert("pm.max_spare_servers", &text, ""));
        }
        if min > children || max > children {
            let text = format!(
                "pm.min_spare_servers({min}) and pm.max_spare_servers({max}) cannot be greater than pm.max_children({children})"
            );
            return Err(self.alert("pm.max_children", &text, ""));
        }
        if max < min {
            let text =
                format!("pm.max_spare_servers({max}) must not be less than pm.min_spare_servers({min})");
            return Err(self.alert("pm.max_spare_servers", &text, ""));
        }
        if start <= 0 {
            let start = min + (max - min) / 2;
            self.pool.pm_start_servers = start;
            let text = format!("pm.start_servers is not set. It's been set to {start}.");
            self.mention(Level::Notice, "pm.start_servers", &text);
        } else if start < min || start > max {
            let text = format!(
                "pm.start_servers({start}) must not be less than pm.min_spare_servers({min}) and not greater than pm.max_spare_servers({max})"
            );
            return Err(self.alert("pm.start_servers", &text, ""));
        }
        if self.pool.pm_max_spawn_rate < 1 {
            return Err(self.alert("pm.max_spawn_rate", "pm.max_spawn_rate must be a positive value", ""));
        }
        Ok(())
    }

    fn ondemand(&mut self) -> Result<(), Fatal> {
        if !self.machine.edge_trigger {
            let text = "ondemand process manager can ONLY be used when events.mechanism is either epoll (Linux) or kqueue (*BSD).";
            return Err(self.alert("pm", text, "leave events.mechanism out"));
        }
        let idle = self.pool.pm_process_idle_timeout.0;
        if idle < 1 {
            let text = format!("pm.process_idle_timeout({idle}s) must be greater than 0s");
            return Err(self.alert("pm.process_idle_timeout", &text, ""));
        }
        let backlog = self.pool.listen_backlog;
        if backlog < BACKLOG_DEFAULT {
            let text = format!(
                "listen.backlog({backlog}) was too low for the ondemand process manager. I updated it for you to {BACKLOG_DEFAULT}."
            );
            self.mention(Level::Warning, "listen.backlog", &text);
            self.pool.listen_backlog = BACKLOG_DEFAULT;
        }
        self.pool.pm_start_servers = 0;
        self.pool.pm_min_spare_servers = 0;
        self.pool.pm_max_spare_servers = 0;
        Ok(())
    }

    /// The hidden pool that serves `pm.status_listen`. Without a path the status page moves to `/`.
    fn status_pool(&mut self, index: usize) -> Option<Pool> {
        let listen = self.pool.pm_status_listen.clone()?;
        self.pool.pm_status_path.get_or_insert_with(|| b"/".to_vec());
        let pool = &*self.pool;
        Some(Pool {
            name: [pool.name.as_slice(), b"_status"].concat(),
            listen,
            listen_owner: pool.listen_owner.clone(),
            listen_group: pool.listen_group.clone(),
            listen_mode: pool.listen_mode.clone(),
            listen_acl_users: pool.listen_acl_users.clone(),
            listen_acl_groups: pool.listen_acl_groups.clone(),
            listen_allowed_clients: pool.listen_allowed_clients.clone(),
            user: pool.user.clone(),
            group: pool.group.clone(),
            pm: ProcessManager::Ondemand,
            pm_max_children: 2,
            pm_status_path: pool.pm_status_path.clone(),
            ping_path: pool.ping_path.clone(),
            ping_response: pool.ping_response.clone(),
            php_binary: pool.php_binary.clone(),
            php_startup_user: pool.php_startup_user,
            places: pool.places.get("pm.status_listen").map(|p| ("listen", p.clone())).into_iter().collect(),
            status_of: Some(index),
            ..Pool::default()
        })
    }

    fn status_path(&mut self, is_status_pool: bool) -> Result<(), Fatal> {
        let short_allowed = is_status_pool || self.pool.pm_status_listen.is_some();
        let path = self.pool.pm_status_path.clone().unwrap_or_default();
        self.page("pm.status_path", "status", &path, short_allowed)
    }

    fn page(&mut self, directive: &str, word: &str, path: &[u8], short_allowed: bool) -> Result<(), Fatal> {
        if path.is_empty() {
            return Ok(());
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(b);
        let complaint = if !path.starts_with(b"/") {
            "must start with a '/'"
        } else if !short_allowed && path.len() < 2 {
            "is not long enough"
        } else if !path.iter().all(allowed) {
            "must contain only the following characters '[alphanum]/_-.~'"
        } else {
            return Ok(());
        };
        let text = [b"the ", word.as_bytes(), b" path '", path, b"' ", complaint.as_bytes()];
        Err(self.error(directive, &text, ""))
    }

    fn ping(&mut self) -> Result<(), Fatal> {
        let path = self.pool.ping_path.clone().unwrap_or_default();
        if path.is_empty() {
            self.pool.ping_response = None;
            return Ok(());
        }
        self.page("ping.path", "ping", &path, false)?;
        let response = self.pool.ping_response.get_or_insert_with(|| b"pong".to_vec());
        if response.is_empty() {
            return Err(self.error("ping.response", &[b"the ping response page '' is not long enough"], ""));
        }
        Ok(())
    }

    fn access_log(&mut self) {
        if self.pool.access_log.as_ref().is_none_or(|p| p.as_os_str().is_empty()) {
            return;
        }
        let bases = Bases::of(self.machine.options);
        resolve(&mut self.pool.access_log, self.pool.prefix.as_deref(), &bases);
        if !self.pool.places.contains_key("access.format") {
            self.pool.access_format = b"%R - %u %t \"%m %r\" %s".to_vec();
        }
    }

    fn slow_log(&mut self) -> Result<(), Fatal> {
        let slowlog = self.pool.slowlog.clone().filter(|p| !p.as_os_str().is_empty());
        if slowlog.is_some() {
            let bases = Bases::of(self.machine.options);
            resolve(&mut self.pool.slowlog, self.pool.prefix.as_deref(), &bases);
        }
        self.slow_log_timeout(slowlog.is_some())?;
        // As in php-fpm, a depth that was not given (or is 0) becomes the default only here.
        let given = self.pool.places.contains_key("request_slowlog_trace_depth");
        let depth = if given { self.pool.request_slowlog_trace_depth } else { 0 };
        if depth == 0 {
            self.pool.request_slowlog_trace_depth = 20;
            return Ok(());
        }
        let directive = "request_slowlog_trace_depth";
        if slowlog.is_none() {
            let text = b"'slowlog' must be specified for use with 'request_slowlog_trace_depth'";
            return Err(self.error(
                directive,
                &[text],
                "add a line to the pool: slowlog = log/$pool.slow.log",
            ));
        }
        if depth < 0 {
            let text = format!("'request_slowlog_trace_depth' ({depth}) must be a positive value");
            return Err(self.error(directive, &[text.as_bytes()], ""));
        }
        Ok(())
    }

    fn slow_log_timeout(&mut self, has_log: bool) -> Result<(), Fatal> {
        let (slow, end) = (self.pool.request_slowlog_timeout.0, self.pool.request_terminate_timeout.0);
        if slow == 0 {
            return Ok(());
        }
        let directive = "request_slowlog_timeout";
        if !has_log {
            let text = b"'slowlog' must be specified for use with 'request_slowlog_timeout'";
            return Err(self.error(
                directive,
                &[text],
                "add a line to the pool: slowlog = log/$pool.slow.log",
            ));
        }
        let path = self.pool.slowlog.clone().unwrap_or_default();
        if let Err(error) = self.machine.host.open_log(LogKind::Slow, Some(&self.pool.name), &path) {
            let suffix = errno_suffix(&error);
            let text = [b"Unable to create or open slowlog(", path_bytes(&path), b")", &suffix];
            return Err(self.log.fatal(Level::Error, &text, self.pool.places.get("slowlog"), ""));
        }
        if end != 0 && slow > end {
            let text = format!(
                "'request_slowlog_timeout' ({slow}) can't be greater than 'request_terminate_timeout' ({end})"
            );
            return Err(self.error(directive, &[text.as_bytes()], ""));
        }
        Ok(())
    }

    fn chroot(&mut self) -> Result<(), Fatal> {
        let Some(given) = self.pool.chroot.clone().filter(|p| !p.as_os_str().is_empty()) else {
            return Ok(());
        };
        let outcome =
            absolute_expanding(path_bytes(&given).to_vec(), self.pool.prefix.as_deref(), &self.bases());
        let path = outcome.unwrap_or_else(|unchanged| {
            let text = b"'$prefix' must be use at the beginning of the value";
            let _ = self.log.fatal(Level::Error, &[text], self.pool.places.get("chroot"), "");
            unchanged
        });
        self.pool.chroot = Some(bytes_path(&path));
        if !path.starts_with(b"/") {
            return Err(self.error("chroot", &[b"the chroot path '", &path, b"' must start with a '/'"], ""));
        }
        if !self.is_directory(&bytes_path(&path)) {
            let text: [&[u8]; 3] = [b"the chroot path '", &path, b"' does not exist or is not a directory"];
            return Err(self.error("chroot", &text, ""));
        }
        Ok(())
    }

    fn chdir(&mut self) -> Result<(), Fatal> {
        if self.pool.chdir.as_ref().is_none_or(|p| p.as_os_str().is_empty()) {
            return Ok(());
        }
        let bases = Bases::of(self.machine.options);
        resolve(&mut self.pool.chdir, self.pool.prefix.as_deref(), &bases);
        let path = path_bytes(&self.pool.chdir.clone().unwrap_or_default()).to_vec();
        if !path.starts_with(b"/") {
            return Err(self.error("chdir", &[b"the chdir path '", &path, b"' must start with a '/'"], ""));
        }
        let missing: &[u8] = b"does not exist or is not a directory";
        let Some(root) = self.pool.chroot.clone() else {
            if self.is_directory(&bytes_path(&path)) {
                return Ok(());
            }
            return Err(self.error("chdir", &[b"the chdir path '", &path, b"' ", missing], ""));
        };
        let inside = [path_bytes(&root), b"/", &path].concat();
        if self.is_directory(&bytes_path(&inside)) {
            return Ok(());
        }
        let text: [&[u8]; 7] = [
            b"the chdir path '",
            &path,
            b"' within the chroot path '",
            path_bytes(&root),
            b"' ('",
            &inside,
            b"') ",
        ];
        let hint = "the folder is looked for below the chroot";
        Err(self.error("chdir", &[&text.concat(), missing], hint))
    }

    fn extensions(&mut self) {
        if !self.pool.places.contains_key("security.limit_extensions") {
            self.pool.security_limit_extensions = b".php .phar".to_vec();
        }
    }

    /// Some php.ini settings are paths and are made absolute too, unless there is a chroot.
    fn php_paths(&mut self) {
        if self.pool.chroot.is_some() {
            return;
        }
        let bases = Bases::of(self.machine.options);
        let prefix = self.pool.prefix.as_deref();
        let is_syslog = |v: &PhpValue| {
            v.key.eq_ignore_ascii_case(b"error_log") && v.value.eq_ignore_ascii_case(b"syslog")
        };
        for entry in self.pool.php_values.iter_mut().filter(|v| is_path(v)) {
            entry.value = absolute(std::mem::take(&mut entry.value), prefix, &bases);
        }
        for entry in self.pool.php_admin_values.iter_mut().filter(|v| is_path(v) && !is_syslog(v)) {
            entry.value = absolute(std::mem::take(&mut entry.value), prefix, &bases);
        }
    }
}

fn is_path(entry: &PhpValue) -> bool {
    const KEYS: [&str; 15] = [
        "error_log",
        "extension_dir",
        "mime_magic.magicfile",
        "sendmail_path",
        "session.cookie_path",
        "session_pgsql.sem_file_name",
        "soap.wsdl_cache_dir",
        "uploadprogress.file.filename_template",
        "xdebug.output_dir",
        "xdebug.profiler_output_dir",
        "xdebug.trace_output_dir",
        "xmms.path",
        "axis2.client_home",
        "blenc.key_file",
        "coin_acceptor.device",
    ];
    KEYS.iter().any(|k| k.as_bytes().eq_ignore_ascii_case(&entry.key))
}
