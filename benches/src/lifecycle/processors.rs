//! Who runs where. The load generator has a processor of its own and the servers have the others, so that neither takes
//! from the other what is to be measured; the capacity of a server is that of its processors. On a machine with one
//! processor nobody is confined.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this process may use: all but the last, and the last. By default nobody is confined.
#[derive(Clone, Copy, Default)]
pub(crate) struct Processors(Option<(CpuSet, CpuSet)>);

impl Processors {
    /// Asked for before anybody is confined.
    pub(crate) fn divide() -> Processors {
        Processors(divide().ok().flatten())
    }

    /// Confines the calling thread, and those that it starts later, to the generator's processor.
    pub(crate) fn generate_here(&self) {
        if let Some((_, own)) = &self.0 {
            let _ = sched_setaffinity(Pid::from_raw(0), own);
        }
    }

    /// Confines what a command starts to the servers' processors.
    pub(crate) fn serve(&self, command: &mut Command) {
        let Some((others, _)) = self.0 else { return };
        let confine = move || sched_setaffinity(Pid::from_raw(0), &others).map_err(std::io::Error::from);
        // SAFETY: between fork and exec only async-signal-safe functions may run; sched_setaffinity is a bare system
        // call, and the closure neither allocates nor takes a lock.
        unsafe { command.pre_exec(confine) };
    }

    /// For the report.
    pub(crate) fn in_words(&self) -> &'static str {
        match self.0 {
            Some(_) => "one for the load generator, the others for the servers",
            None => "shared by load generator and servers",
        }
    }
}

fn divide() -> nix::Result<Option<(CpuSet, CpuSet)>> {
    let mut others = sched_getaffinity(Pid::from_raw(0))?;
    let usable: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| others.is_set(*cpu).unwrap_or(false)).collect();
    let [_, .., last] = usable[..] else { return Ok(None) };
    others.unset(last)?;
    let mut own = CpuSet::new();
    own.set(last)?;
    Ok(Some((others, own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_a_processor() {
        let Some((others, own)) = Processors::divide().0 else { return };
        let shared = (0..CpuSet::count())
            .filter(|cpu| others.is_set(*cpu) == Ok(true) && own.is_set(*cpu) == Ok(true));
        assert_eq!(shared.count(), 0);
    }
}
