//! Verification of proofs: all that an auditor needs, without the tree.

use crate::hash::Hash;

/// Tells whether `path` proves that `leaf` is number `index` of the `size` leaves under `root`.
///
/// Source: RFC 9162, 2.1.3.2.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in path {
        if last == 0 {
            return false;
        }
        if is_right(node, last) {
            hash = Hash::node(step, &hash);
            skip(&mut node, &mut last);
        } else {
            hash = Hash::node(&hash, step);
        }
        up(&mut node, &mut last);
    }
    last == 0 && hash == *root
}

/// Tells whether `path` proves that the `old` leaves under `old_root` are the first of the `new`
/// leaves under `new_root`.
///
/// Source: RFC 9162, 2.1.4.2. An empty old tree is a prefix of every tree.
#[must_use]
pub fn verify_consistency(
    old: u64,
    new: u64,
    path: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> bool {
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == Hash::of(&[]);
    }
    if old > new {
        return false;
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        up(&mut node, &mut last);
    }
    // A whole old tree is a node of the new one, which the path then does not repeat.
    let mut steps = path.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        steps.next()
    };
    let Some(first) = first else { return false };
    if path.is_empty() {
        return false;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if is_right(node, last) {
            from_old = Hash::node(step, &from_old);
            from_new = Hash::node(step, &from_new);
            skip(&mut node, &mut last);
        } else {
            from_new = Hash::node(&from_new, step);
        }
        up(&mut node, &mut last);
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}

/// Tells whether the next hash of the path stands to the left of this node.
const fn is_right(node: u64, last: u64) -> bool {
    node & 1 == 1 || node == last
}

/// Passes the levels on which this node, the last of its level, has no sibling.
const fn skip(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        up(node, last);
    }
}

const fn up(node: &mut u64, last: &mut u64) {
    *node >>= 1;
    *last >>= 1;
}

#[cfg(test)]
mod tests {
    use super::super::{consistency_path, inclusion_path, tests::Naive};
    use super::*;

    const MAX: u8 = 33;

    fn naive() -> Naive {
        Naive((0..MAX).map(|n| Hash::leaf(&[n])).collect())
    }

    fn root(nodes: &Naive, size: u64) -> Hash {
        Naive::root(&nodes.0[..usize::try_from(size).unwrap()])
    }

    /// Every way in which a path can be bent a little.
    fn bent(path: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = vec![
            [path, &[Hash::ZERO]].concat(),
            [&[Hash::ZERO], path].concat(),
        ];
        for at in 0..path.len() {
            let mut edited = path.to_vec();
            edited[at] = Hash::of(&[b"other"]);
            all.push(edited);
            let mut shorter = path.to_vec();
            shorter.remove(at);
            all.push(shorter);
        }
        all
    }

    #[test]
    fn every_leaf_of_every_tree_is_proved_and_nothing_else() {
        let nodes = naive();
        for size in 1..=u64::from(MAX) {
            let root = root(&nodes, size);
            for index in 0..size {
                let leaf = nodes.0[usize::try_from(index).unwrap()];
                let path = inclusion_path(&nodes, index, size).unwrap();
                assert!(verify_inclusion(&leaf, index, size, &path, &root));
                for other in (0..=size).filter(|other| *other != index) {
                    assert!(!verify_inclusion(&leaf, other, size, &path, &root));
                }
                assert!(!verify_inclusion(&Hash::ZERO, index, size, &path, &root));
                assert!(!verify_inclusion(&leaf, index, size, &path, &Hash::ZERO));
                for path in bent(&path) {
                    assert!(!verify_inclusion(&leaf, index, size, &path, &root));
                }
            }
        }
    }

    #[test]
    fn every_prefix_is_proved_and_nothing_else() {
        let nodes = naive();
        for new in 1..=u64::from(MAX) {
            let new_root = root(&nodes, new);
            for old in 1..new {
                let old_root = root(&nodes, old);
                let path = consistency_path(&nodes, old, new).unwrap();
                assert!(verify_consistency(old, new, &path, &old_root, &new_root));
                let other = Hash::ZERO;
                assert!(!verify_consistency(old, new, &path, &other, &new_root));
                assert!(!verify_consistency(old, new, &path, &old_root, &other));
                assert!(!verify_consistency(new, old, &path, &new_root, &old_root));
                for path in bent(&path) {
                    assert!(!verify_consistency(old, new, &path, &old_root, &new_root));
                }
            }
        }
    }

    #[test]
    fn borders_need_no_path() {
        let empty = Hash::of(&[]);
        let one = Hash::leaf(b"x");
        assert!(verify_consistency(0, 5, &[], &empty, &one));
        assert!(!verify_consistency(0, 5, &[], &one, &one));
        assert!(verify_consistency(3, 3, &[], &one, &one));
        assert!(!verify_consistency(3, 3, &[one], &one, &one));
        assert!(!verify_inclusion(&one, 0, 0, &[], &one));
    }
}
