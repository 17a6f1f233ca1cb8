//! Where a new file goes: on one of the pairs that serve, in proportion to their room.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005): each pair draws
//! a number from folder, name and its own id, scaled by its room; the lowest wins. So equal pairs share evenly, a pair with
//! a tenth of the room gets a tenth of the files, everyone who knows the same rooms chooses the same pair, and when
//! rooms change a little, few names choose another. What is chosen is a proposal: the log decides with the write.

use crate::content::sha256;

/// The draw of `pair` with `weight` for a name; the lowest wins. Infinite for a weight of 0.
fn draw(folder: u64, name: &str, pair: u32, weight: u64) -> f64 {
    let bytes = [&folder.to_be_bytes(), name.as_bytes(), &pair.to_be_bytes()].concat();
    let [a, b, c, d, e, f, g, _, ..] = sha256(&bytes);
    // 53 bits: as many as a float holds; never 0 or 1.
    let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]) >> 3;
    let uniform = (random as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / weight as f64
}

/// The pair for `name` in `folder`, of some with their weights (free room, bytes); none if there is none. Pairs
/// without room are chosen only if all are.
pub fn choose(folder: u64, name: &str, pairs: impl IntoIterator<Item = (u32, u64)>) -> Option<u32> {
    let by_draw = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let draws = pairs.into_iter().map(|(pair, weight)| (draw(folder, name, pair, weight), pair));
    draws.min_by(by_draw).map(|(_, pair)| pair)
}

/// The `most` pairs that a folder's files are spread over.
pub fn spread(folder: u64, pairs: impl IntoIterator<Item = (u32, u64)>, most: usize) -> Vec<u32> {
    let mut draws: Vec<_> =
        pairs.into_iter().map(|(pair, weight)| (draw(folder, "", pair, weight), pair)).collect();
    draws.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    draws.into_iter().take(most).map(|(_, pair)| pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pairs: &[(u32, u64)], files: u32) -> Vec<u32> {
        let mut counts = vec![0; pairs.len()];
        for file in 0..files {
            let chosen = choose(17, &format!("file {file}"), pairs.iter().copied()).unwrap();
            counts[pairs.iter().position(|(pair, _)| *pair == chosen).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equal_pairs_share_evenly() {
        let counts = count(&[(1, 1 << 40), (2, 1 << 40), (3, 1 << 40), (4, 1 << 40)], 4000);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn files_go_in_proportion_to_room_and_a_nearly_full_pair_gets_little() {
        let counts = count(&[(1, 300 << 30), (2, 100 << 30), (3, 1 << 30)], 4000);
        assert!((2800..3200).contains(&counts[0]), "{counts:?}");
        assert!((850..1150).contains(&counts[1]), "{counts:?}");
        assert!(counts[2] < 40, "{counts:?}");
    }

    #[test]
    fn a_pair_without_room_is_chosen_only_if_all_are() {
        assert_eq!(count(&[(1, 0), (2, 5)], 100), [0, 100]);
        assert_eq!(choose(1, "a", [(7, 0)]), Some(7));
        assert_eq!(choose(1, "a", []), None);
    }

    #[test]
    fn a_name_stays_where_it_is_when_rooms_change_a_little_or_another_pair_comes() {
        let moved = |after: &[(u32, u64)]| {
            (0..1000)
                .filter(|file| {
                    let name = format!("{file}");
                    choose(1, &name, [(1, 1000), (2, 1000)]) != choose(1, &name, after.iter().copied())
                })
                .count()
        };
        assert!(moved(&[(1, 1000), (2, 980)]) < 30);
        assert!((250..420).contains(&moved(&[(1, 1000), (2, 1000), (3, 1000)])));
    }

    #[test]
    fn a_folder_is_spread_over_a_bounded_choice() {
        let pairs = || (1..=100).map(|pair| (pair, 10));
        assert_eq!(spread(3, pairs(), 16).len(), 16);
        assert_ne!(spread(3, pairs(), 16), spread(4, pairs(), 16));
        assert_eq!(spread(3, [(9, 1)], 16), [9]);
    }
}
