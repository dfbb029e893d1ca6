//! Pools by number. A number means one generation of a pool: a reload gives the next generation the next number, and
//! the old one keeps its own until nothing of it runs. Numbers follow the configuration's order only at start.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::PoolId;

/// Something for each pool. Plan and master each have one, with the same numbers.
#[derive(Debug)]
pub struct Pools<T> {
    pools: BTreeMap<PoolId, T>,
    next: PoolId,
}

impl<T> Default for Pools<T> {
    fn default() -> Pools<T> {
        Pools { pools: BTreeMap::new(), next: 0 }
    }
}

impl<T> Pools<T> {
    /// A number that nothing has had yet.
    pub fn reserve(&mut self) -> PoolId {
        self.next += 1;
        self.next - 1
    }

    /// In place of what was there before.
    pub fn insert(&mut self, id: PoolId, pool: T) {
        self.pools.insert(id, pool);
    }

    /// Nothing of it runs any more.
    pub fn remove(&mut self, id: PoolId) -> Option<T> {
        self.pools.remove(&id)
    }

    /// Every number, oldest first; the pools may be changed while going through them.
    pub fn ids(&self) -> Vec<PoolId> {
        self.pools.keys().copied().collect()
    }

    /// It may be gone.
    pub fn get(&self, id: PoolId) -> Option<&T> {
        self.pools.get(&id)
    }

    /// As `get`.
    pub fn get_mut(&mut self, id: PoolId) -> Option<&mut T> {
        self.pools.get_mut(&id)
    }

    /// All with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (PoolId, &T)> {
        self.pools.iter().map(|(id, pool)| (*id, pool))
    }

    /// All.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.pools.values()
    }

    /// All.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pools.values_mut()
    }
}

impl<T> FromIterator<T> for Pools<T> {
    /// Numbered from 0.
    fn from_iter<I: IntoIterator<Item = T>>(pools: I) -> Pools<T> {
        let pools: BTreeMap<_, _> = pools.into_iter().enumerate().collect();
        Pools { next: pools.len(), pools }
    }
}

impl<T> Index<PoolId> for Pools<T> {
    type Output = T;

    fn index(&self, id: PoolId) -> &T {
        &self.pools[&id]
    }
}

impl<T> IndexMut<PoolId> for Pools<T> {
    fn index_mut(&mut self, id: PoolId) -> &mut T {
        self.pools.get_mut(&id).expect("a pool is asked for as long as something of it runs")
    }
}
