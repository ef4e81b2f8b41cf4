//! A folder that is looked at again and again.

use std::{borrow::Cow, collections::HashMap, collections::VecDeque, sync::Arc, time::Duration};

use fastmcp_guard::files::{Entry, EntryKind};
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{Folder, Print, beneath, resource::uri};
use crate::{
    call::{Change, Kind},
    component::Component,
    error::Result,
    provider::Provider,
};

/// How long after a change a file may change again without its time telling: what file systems count in.
const SETTLES: Duration = Duration::from_secs(2);

/// Shows what the folder holds, and what it holds later: subscribers are told of changes of the lists and of resources.
/// While the folder cannot be read, what was read last stays, and [`Server::providers`](crate::Server::providers) says
/// that it failed.
impl Provider for Folder {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("folder")
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        let folder = self.clone();
        Box::pin(async move {
            let contents = spawn_blocking(move || folder.read()).await??;
            contents.log();
            Ok(contents.components.into_iter().map(Arc::new).collect())
        })
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.every, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = Watch {
            folder: self.clone(),
            ticks,
            seen: None,
            settles: Instant::now() + SETTLES,
            settled: false,
            told: VecDeque::new(),
        };
        stream::unfold(watch, async |mut watch| {
            let change = watch.next().await;
            Some((change, watch))
        })
        .boxed()
    }
}

/// Looks for changes.
struct Watch {
    folder: Folder,
    ticks: Interval,
    /// What was there when it was looked at last.
    seen: Option<Print>,
    /// Until when what changed may change once more without being seen to.
    settles: Instant,
    settled: bool,
    told: VecDeque<Change>,
}

impl Watch {
    async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.told.pop_front() {
                return change;
            }
            if self.seen.is_none() {
                self.first_look().await;
                continue;
            }
            self.ticks.tick().await;
            match self.look().await {
                Ok(found) => self.compare(found),
                // Asked for what there is, the folder says what is wrong.
                Err(_) => self.read_again(),
            }
        }
    }

    /// What is there at first: it is read after this, so nothing falls in between.
    async fn first_look(&mut self) {
        self.seen = Some(self.look().await.unwrap_or_default());
    }

    async fn look(&self) -> Result<Print> {
        let folder = self.folder.clone();
        spawn_blocking(move || folder.print()).await?
    }

    /// Notes how what is there now differs from what was there before.
    fn compare(&mut self, found: Print) {
        let before = self.seen.replace(found).unwrap_or_default();
        let now = self.seen.as_deref().unwrap_or_default();
        let (is_new, is_due) = (before != now, Instant::now() >= self.settles);
        let changed = changed(&self.folder, &before, now);
        if is_new {
            self.settles = Instant::now() + SETTLES;
            self.settled = false;
        } else if self.settled {
            return;
        } else {
            self.settled = is_due;
        }
        self.read_again();
        self.told.extend(changed.into_iter().map(Change::Resource));
    }

    fn read_again(&mut self) {
        // One list is enough to be asked for all of them.
        self.told.push_back(Change::List(Kind::Prompt));
    }
}

/// The URIs of files that were there before and are not what they were.
fn changed(folder: &Folder, before: &[Entry], after: &[Entry]) -> Vec<String> {
    let before: HashMap<&str, &Entry> = before.iter().map(|e| (e.path.as_str(), e)).collect();
    let files = after.iter().filter(|entry| entry.kind == EntryKind::File);
    let changed = files.filter(|e| before.get(e.path.as_str()).is_some_and(|b| b != e));
    changed
        .filter_map(|entry| Some(uri(folder, beneath(&folder.resources, &entry.path)?)))
        .collect()
}
