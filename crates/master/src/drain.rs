//! A graceful end of a pool's socket: nobody new gets in where the socket is ours, and what is queued is counted. Sockets
//! that were handed in go on listening, for their owner's next service: what was queued when the end began is served.

use std::rc::Rc;

use config::Level;
use plan::{Event, PoolId};
use sys::closing;
use sys::queue::Queue;

use crate::inheritance::is_same;
use crate::log::errno_text;
use crate::supervisor::Supervisor;

/// As many may be taken from a handed-in socket's queue whose length the kernel does not tell.
const UNKNOWN: u32 = 4096;
/// No limit: nobody new gets in.
const ALL: u32 = u32::MAX;

impl Supervisor {
    /// The pool's socket is nobody else's: its next generation has another one, or there is none.
    pub(crate) fn is_left_alone(&self, pool: PoolId) -> bool {
        let socket = &self.pools[pool].socket.fd;
        self.roster.values().all(|id| !is_same(&self.pools[*id].socket.fd, socket))
    }

    /// From now on the pool's workers, when asked to finish, take what is queued and then end.
    pub(crate) fn drain(&mut self, pool: PoolId) {
        let fd = Rc::clone(&self.pools[pool].socket.fd);
        let ours = self.sockets.ends_with_us(&fd);
        if ours && let Err(error) = self.sockets.close_to_newcomers(&fd) {
            let text = format!("new connections cannot be kept off: {}", errno_text(&error));
            self.write_for(pool, Level::Debug, &text);
        }
        // That it is gone is no surprise.
        self.pools[pool].file = None;
        let lent = !ours && self.sockets.knows(&fd);
        let to_serve = match lent {
            true => self.waiting(pool).unwrap_or(UNKNOWN),
            false => ALL,
        };
        if let Err(error) = closing::set_blocking(&fd, false) {
            let text = format!("the listening socket cannot be drained: {}", errno_text(&error));
            self.write_for(pool, Level::Error, &text);
        }
        // After that: a worker that is woken must not find a socket that makes it wait.
        self.pools[pool].board.header().begin_drain(to_serve);
        self.drain_server_parking(pool);
        self.count_queue(pool);
    }

    /// Tells the plan how many are still to be served.
    pub(crate) fn count_queue(&mut self, pool: PoolId) {
        let socket = &self.pools[pool].socket.fd;
        let guess = || u32::from(closing::is_anybody_waiting(socket));
        let waiting = self.waiting(pool).unwrap_or_else(guess);
        let waiting = waiting.min(self.pools[pool].board.header().to_serve());
        self.events.push_back(Event::Queued { pool, waiting });
    }

    fn waiting(&self, pool: PoolId) -> Option<u32> {
        sys::queue::measure(&self.pools[pool].socket.fd).ok().map(|Queue { waiting, .. }| waiting)
    }
}
