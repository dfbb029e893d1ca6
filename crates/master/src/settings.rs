//! From the configuration to what the plan needs to know of it.

use config::{Config, Global, ProcessManager, Sigterm};
use plan::{Emergency, PoolSettings, Settings};

use crate::pool::shown_name;

/// The settings of the plan.
pub(crate) fn settings(config: &Config, reloaded: bool) -> Settings {
    let Global { emergency_restart_threshold, emergency_restart_interval, .. } = &config.global;
    let threshold = u32::try_from(*emergency_restart_threshold).unwrap_or(0);
    let interval = emergency_restart_interval.duration().filter(|_| threshold > 0);
    Settings {
        pools: config.pools.iter().map(pool_settings).collect(),
        process_max: u32::try_from(config.global.process_max).unwrap_or(0),
        process_control_timeout: config.global.process_control_timeout.duration().unwrap_or_default(),
        idle_exit: config.global.idle_exit.duration().unwrap_or_default(),
        drain_timeout: config.global.drain_timeout.duration().unwrap_or_default(),
        sigterm_is_graceful: config.global.shutdown_sigterm == Sigterm::Graceful,
        shutdown_delay: config.global.shutdown_delay.duration().unwrap_or_default(),
        emergency: interval.map(|interval| Emergency { threshold, interval }),
        reloaded,
    }
}

/// A pool's.
pub(crate) fn pool_settings(pool: &config::Pool) -> PoolSettings {
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let max_children = count(pool.pm_max_children);
    let manager = match pool.pm {
        ProcessManager::Static => plan::ProcessManager::Static { workers: max_children },
        ProcessManager::Dynamic => plan::ProcessManager::Dynamic {
            max_children,
            start: count(pool.pm_start_servers),
            min_spare: count(pool.pm_min_spare_servers),
            max_spare: count(pool.pm_max_spare_servers),
            max_spawn_rate: count(pool.pm_max_spawn_rate),
        },
        ProcessManager::Ondemand => plan::ProcessManager::Ondemand {
            max_children,
            idle_timeout: pool.pm_process_idle_timeout.duration().unwrap_or_default(),
        },
    };
    PoolSettings { name: shown_name(&pool.name), manager, is_status: pool.status_of.is_some() }
}
