//! Looking at what clients publish about themselves, so that one who is slow keeps nobody else waiting.
//!
//! Anybody can name a document that does not come. So each look has a deadline, each site few at a time, and where there are
//! too many the oldest of the site that has the most is given up for the one that comes: a document that comes at all comes
//! long before that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long one may take, whatever it is made of: names, connections, answers.
const DEADLINE: Duration = Duration::from_secs(5);

/// Most at a time, and most of one site.
const MOST: usize = 64;
const MOST_OF_SITE: usize = 8;

/// The lookups under way.
#[derive(Default)]
pub(super) struct Lookups {
    running: Mutex<Vec<Running>>,
}

struct Running {
    site: String,
    given_up: CancellationToken,
}

/// A lookup that is over when this goes.
struct Turn<'a> {
    of: &'a Lookups,
    given_up: CancellationToken,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // What is given up is recognised by that, and its place is gone already.
        self.given_up.cancel();
        let mut running = self
            .of
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.retain(|one| !one.given_up.is_cancelled());
    }
}

impl Lookups {
    /// Looks at a document of `host`; `None` where it took too long, or others needed its place.
    pub(super) async fn run<T>(&self, host: &str, look: impl Future<Output = T>) -> Option<T> {
        let turn = self.begin(host);
        let look = timeout(DEADLINE, look);
        turn.given_up.run_until_cancelled(look).await?.ok()
    }

    fn begin(&self, host: &str) -> Turn<'_> {
        let site = site(host).to_owned();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let of_site = running.iter().filter(|one| one.site == site).count();
        let greedy = if of_site >= MOST_OF_SITE {
            Some(site.clone())
        } else if running.len() >= MOST {
            greediest(running.iter().map(|one| one.site.as_str()))
        } else {
            None
        };
        // In the order in which they began.
        let oldest = greedy.and_then(|greedy| running.iter().position(|one| one.site == greedy));
        if let Some(oldest) = oldest {
            running.remove(oldest).given_up.cancel();
        }
        let given_up = CancellationToken::new();
        running.push(Running {
            site,
            given_up: given_up.clone(),
        });
        Turn { of: self, given_up }
    }
}

/// The site that stands there most often; of several, the first.
pub(super) fn greediest<'a>(mut sites: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for site in sites.clone() {
        *counts.entry(site).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let first = sites.find(|site| counts.get(site).copied() == most);
    first.map(str::to_owned)
}

/// Who answers for a host, near enough: whoever has a domain has any number of hosts in it.
pub(super) fn site(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address {
        return host;
    }
    let mut dots = host.rmatch_indices('.').skip(1);
    let begin = dots.next().map_or(0, |(dot, _)| dot + 1);
    host.get(begin..).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::join_all;

    use super::*;

    #[test]
    fn hosts_of_one_domain_are_one_site() {
        assert_eq!(site("a.b.example.com"), "example.com");
        assert_eq!(site("example.com"), "example.com");
        assert_eq!(site("localhost"), "localhost");
        assert_eq!(site("10.1.2.3"), "10.1.2.3");
        assert_eq!(site("[::1]"), "[::1]");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_ends_at_its_deadline() {
        let lookups = Lookups::default();
        let begun = tokio::time::Instant::now();
        assert_eq!(lookups.run("slow.example", pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), DEADLINE);
        assert!(lookups.running.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_keeps_nobody_else_waiting() {
        let lookups = Lookups::default();
        // As many as come, under any number of names.
        let slow = (0..500).map(|at| {
            let (lookups, host) = (&lookups, format!("h{at}.site{}.example", at % 20));
            async move { lookups.run(&host, pending::<()>()).await }
        });
        let honest = async {
            tokio::task::yield_now().await;
            assert!(lookups.running.lock().unwrap().len() <= MOST);
            lookups.run("client.example", ready(7)).await
        };
        let (slow, honest) = tokio::join!(join_all(slow), honest);
        assert_eq!(honest, Some(7));
        assert!(slow.iter().all(Option::is_none));
        assert!(lookups.running.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_the_greediest_goes() {
        let lookups = Lookups::default();
        let quiet = lookups.begin("quiet.example");
        let greedy: Vec<_> = (0..MOST_OF_SITE)
            .map(|_| lookups.begin("x.greedy.test"))
            .collect();
        assert!(greedy.iter().all(|turn| !turn.given_up.is_cancelled()));
        let more = lookups.begin("y.greedy.test");
        assert!(greedy[0].given_up.is_cancelled());
        let others: Vec<_> = (0..60)
            .map(|at| lookups.begin(&format!("site-{at}.test")))
            .collect();
        assert!(
            !quiet.given_up.is_cancelled(),
            "one at a time disturbs nobody"
        );
        assert!(others.iter().all(|turn| !turn.given_up.is_cancelled()));
        assert!(!more.given_up.is_cancelled(), "it came last");
        assert_eq!(lookups.running.lock().unwrap().len(), MOST);
    }
}
