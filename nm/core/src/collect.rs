//! How far tombstones may be collected (R24).

use types::limits::COLLECT_WITHOUT;
use types::mutation::{self, Mutation};
use types::record::Server;

/// Up to where every member of `feed` that counts has durably applied it, by the log's own word; none when nobody
/// counts. `now_ms` is log time.
///
/// A member that was declared failed longer than [`COLLECT_WITHOUT`] ago does not count: when it returns with a cursor
/// before what was collected, it is compared from the start.
pub fn floor(servers: &[Server], feed: u32, now_ms: u64) -> Option<u64> {
    let limit = COLLECT_WITHOUT.as_millis() as u64;
    servers
        .iter()
        .filter(|server| feed == 0 || server.pair == feed)
        .filter(|server| {
            let lately = now_ms.saturating_sub(server.failed_ms) < limit;
            !server.failed || lately && !mutation::is(Mutation::ForgetTombstone)
        })
        .map(|server| if feed == 0 { server.control_cursor } else { server.pair_cursor })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pair: u32, control_cursor: u64, pair_cursor: u64) -> Server {
        Server { pair, control_cursor, pair_cursor, ..Server::default() }
    }

    #[test]
    fn r24_a_tombstone_stays_until_the_slowest_member_has_it() {
        let servers = [server(1, 9, 5), server(1, 8, 7), server(2, 3, 2)];
        assert_eq!(floor(&servers, 1, 0), Some(5));
        assert_eq!(floor(&servers, 2, 0), Some(2));
        assert_eq!(floor(&servers, 0, 0), Some(3), "the control feed goes to all");
        assert_eq!(floor(&servers, 3, 0), None);
    }

    #[test]
    fn r24_a_member_that_is_away_for_a_month_holds_nothing_up() {
        let month = COLLECT_WITHOUT.as_millis() as u64;
        let away = Server { failed: true, failed_ms: 1000, ..server(1, 2, 2) };
        let servers = [server(1, 9, 9), away];
        assert_eq!(floor(&servers, 1, 1000 + month - 1), Some(2));
        assert_eq!(floor(&servers, 1, 1000 + month), Some(9));
    }
}
