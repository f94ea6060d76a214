//! Whether the record of any subscription has changed: a connection asks once for all of its members.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::watch;

use crate::core::Core;

/// How often the server is asked.
const LOOK: Duration = Duration::from_secs(1);

/// The record that was stored last: where it lies, and since when. In a stream that was made anew it may lie in the
/// same place.
pub(crate) type Newest = Option<(u64, SystemTime)>;

/// Whether the record of any subscription has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    newest: watch::Sender<Newest>,
    is_followed: AtomicBool,
}

impl Core {
    /// Tells of changes from now on; it may tell of one too many.
    pub(crate) fn changes(self: &Arc<Self>) -> watch::Receiver<Newest> {
        let receiver = self.changes.newest.subscribe();
        if !self.changes.is_followed.swap(true, Ordering::AcqRel) {
            self.life.spawn(follow(Arc::clone(self)));
        }
        receiver
    }
}

async fn follow(core: Arc<Core>) {
    let any = json!({"last_by_subj": core.keys.subscription("*")});
    loop {
        tokio::time::sleep(LOOK).await;
        if core.changes.newest.receiver_count() == 0 {
            continue;
        }
        // What cannot be read is read the next time.
        if let Ok(stored) = core.get(&core.keys.books(), &any).await {
            let newest = stored.map(|stored| (stored.seq, stored.stored_at()));
            core.changes
                .newest
                .send_if_modified(|known| std::mem::replace(known, newest) != newest);
        }
    }
}
