//! Wakes those who follow a task. Only a hint: they look for themselves.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use downbeat_core::id::TaskNo;
use tokio::sync::watch;

/// Followers by task, woken in this order.
#[derive(Debug, Default)]
pub struct Watch(Mutex<BTreeMap<TaskNo, watch::Sender<()>>>);

impl Watch {
    /// Changes whenever the task may have new events.
    pub fn subscribe(&self, task: TaskNo) -> watch::Receiver<()> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, sender| sender.receiver_count() > 0);
        followed.entry(task).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// The task may have new events.
    pub fn changed(&self, task: TaskNo) {
        let followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = followed.get(&task) {
            sender.send_replace(());
        }
    }

    /// Any task may have.
    pub fn all_changed(&self) {
        let followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in followed.values() {
            sender.send_replace(());
        }
    }
}
