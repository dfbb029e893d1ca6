//! How many connections wait on the pools' listening sockets: looked at once a second, for the status pages.

use config::Level;
use plan::PoolId;

use crate::log::errno_text;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// The sizes of the queues are known from the start on.
    pub(crate) fn sample_queues(&mut self) {
        self.pools.ids().into_iter().for_each(|pool| self.sample_queue(pool));
    }

    /// Puts into the scoreboard what the kernel says of the pool's queue. Where it says nothing the numbers stay 0.
    pub(crate) fn sample_queue(&mut self, pool: PoolId) {
        let pool = &mut self.pools[pool];
        match sys::queue::measure(&pool.socket.fd) {
            Ok(queue) => pool.board.header().note_queue(queue.waiting, queue.room),
            Err(error) if !std::mem::replace(&mut pool.queue_unknown, true) => {
                let text = format!("the listening queue cannot be measured: {}", errno_text(&error));
                self.log.write(Level::Debug, format!("[pool {}] {text}", pool.name));
            }
            Err(_) => {}
        }
    }
}
