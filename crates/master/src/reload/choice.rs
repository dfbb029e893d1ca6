//! Which pools a reload renews, of those that the new configuration has and those that serve. Pure.

use std::collections::BTreeMap;

use config::Config;
use plan::PoolId;

use super::Ask;
use crate::pool::shown_name;

/// Which pools a reload renews.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// By their place in the configuration, with the number of the generation they replace.
    pub(super) renewed: Vec<(usize, Option<PoolId>)>,
    pub(super) removed: Vec<PoolId>,
    pub(super) kept: Vec<PoolId>,
}

/// What is wrong with what was asked for: a pool that is neither there nor going to be.
pub(super) fn unknown(ask: &Ask, config: &Config, now: &BTreeMap<Vec<u8>, PoolId>) -> Option<String> {
    let known =
        |name: &&Vec<u8>| now.contains_key(*name) || config.pools.iter().any(|pool| pool.name == **name);
    let name = ask.pools.iter().find(|name| !known(name))?;
    Some(format!("there is no pool '{}'", shown_name(name)))
}

/// `now`: the pools that serve. `same` tells whether a pool of the configuration is what serves under its name.
pub(super) fn choose(
    ask: &Ask,
    config: &Config,
    now: &BTreeMap<Vec<u8>, PoolId>,
    same: impl Fn(usize, PoolId) -> bool,
) -> Choice {
    let names: Vec<&[u8]> = config.pools.iter().map(|pool| pool.name.as_slice()).collect();
    let covered = |name: &[u8]| ask.pools.is_empty() || ask.pools.iter().any(|asked| asked == name);
    let replaced = |index: usize| now.get(names[index]).copied();
    let mut renewed: Vec<bool> = (0..names.len())
        .map(|index| {
            let unchanged = || replaced(index).is_some_and(|id| same(index, id));
            covered(names[index]) && !(ask.only_changed && unchanged())
        })
        .collect();
    // A status page shows the scoreboard of its own pool's generation.
    for (index, pool) in config.pools.iter().enumerate() {
        if let Some(shown) = pool.status_of {
            let both = renewed[index] || renewed[shown];
            (renewed[index], renewed[shown]) = (both, both);
        }
    }
    let gone = |name: &[u8]| covered(name) && !names.contains(&name);
    let renewed: Vec<_> =
        (0..names.len()).filter(|index| renewed[*index]).map(|index| (index, replaced(index))).collect();
    let removed: Vec<PoolId> = now.iter().filter(|(name, _)| gone(name)).map(|(_, id)| *id).collect();
    let goes =
        |id: &PoolId| removed.contains(id) || renewed.iter().any(|(_, replaces)| *replaces == Some(*id));
    let kept = now.values().copied().filter(|id| !goes(id)).collect();
    Choice { renewed, removed, kept }
}

/// One reload for all who have asked meanwhile.
pub(super) fn merged(asks: &[Ask]) -> Ask {
    let only_changed = !asks.is_empty() && asks.iter().all(|ask| ask.only_changed);
    let all = asks.is_empty() || asks.iter().any(|ask| ask.pools.is_empty());
    let pools = if all { Vec::new() } else { asks.iter().flat_map(|ask| ask.pools.clone()).collect() };
    Ask { pools, only_changed, tickets: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pools: &[&str]) -> Config {
        let pool = |name: &&str| config::Pool { name: name.as_bytes().to_vec(), ..Default::default() };
        Config { pools: pools.iter().map(pool).collect(), ..Default::default() }
    }

    fn serving(pools: &[&str]) -> BTreeMap<Vec<u8>, PoolId> {
        pools.iter().zip(10..).map(|(name, id)| (name.as_bytes().to_vec(), id)).collect()
    }

    fn ask(pools: &[&str], only_changed: bool) -> Ask {
        Ask {
            pools: pools.iter().map(|name| name.as_bytes().to_vec()).collect(),
            only_changed,
            ..Ask::default()
        }
    }

    /// Renewed, removed, kept.
    type Chosen = (Vec<(usize, Option<PoolId>)>, Vec<PoolId>, Vec<PoolId>);

    /// Pools 10 and 11 are as they were.
    fn chosen(ask: &Ask, new: &Config, now: &[&str]) -> Chosen {
        let choice = choose(ask, new, &serving(now), |_, id| id < 12);
        (choice.renewed, choice.removed, choice.kept)
    }

    #[test]
    fn all_of_them_those_named_or_those_changed() {
        let now = ["a", "b", "c"];
        let same = config(&now);
        let all = vec![(0, Some(10)), (1, Some(11)), (2, Some(12))];
        assert_eq!(chosen(&ask(&[], false), &same, &now), (all, vec![], vec![]));
        assert_eq!(chosen(&ask(&["b"], false), &same, &now), (vec![(1, Some(11))], vec![], vec![10, 12]));
        assert_eq!(chosen(&ask(&[], true), &same, &now), (vec![(2, Some(12))], vec![], vec![10, 11]));
        assert_eq!(chosen(&ask(&["a"], true), &same, &now), (vec![], vec![], vec![10, 11, 12]));
    }

    #[test]
    fn pools_that_come_and_go() {
        let new = config(&["b", "n"]);
        let everything = (vec![(0, Some(11)), (1, None)], vec![10], vec![]);
        assert_eq!(chosen(&ask(&[], false), &new, &["a", "b"]), everything);
        assert_eq!(chosen(&ask(&["n"], false), &new, &["a", "b"]), (vec![(1, None)], vec![], vec![10, 11]));
        assert_eq!(chosen(&ask(&["a"], false), &new, &["a", "b"]), (vec![], vec![10], vec![11]));
        let problem = |name| unknown(&ask(&[name], false), &new, &serving(&["a"]));
        assert_eq!(problem("x").as_deref(), Some("there is no pool 'x'"));
        assert_eq!((problem("a"), problem("b"), problem("n")), (None, None, None));
    }

    #[test]
    fn a_status_page_goes_with_its_pool() {
        let mut new = config(&["a", "a_status"]);
        new.pools[1].status_of = Some(0);
        let both = vec![(0, Some(10)), (1, Some(11))];
        for name in ["a", "a_status"] {
            assert_eq!(chosen(&ask(&[name], false), &new, &["a", "a_status"]).0, both, "{name}");
        }
    }

    #[test]
    fn asked_together() {
        assert_eq!(merged(&[ask(&["a"], true), ask(&["b"], true)]), ask(&["a", "b"], true));
        assert_eq!(merged(&[ask(&["a"], true), ask(&[], false)]), ask(&[], false));
        assert_eq!(merged(&[]), ask(&[], false));
    }
}
