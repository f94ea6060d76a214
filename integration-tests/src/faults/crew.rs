//! The members: processes that are killed and replaced.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::member::Orders;
use super::report::Report;
use crate::brokers::keeper;

/// How long a member may take to join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Who hears what members say.
pub(super) type Ear = Arc<dyn Fn(&Report) + Send + Sync>;

/// The members of one group.
pub(super) struct Crew {
    orders: Orders,
    ear: Ear,
    members: Vec<Member>,
}

/// A member process. It is killed when this is dropped.
pub(super) struct Member {
    child: Child,
    joined: mpsc::Receiver<()>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Crew {
    /// Starts this many members and waits until they have joined.
    pub(super) async fn start(orders: Orders, ear: Ear, size: usize) -> Result<Self> {
        let mut members = Vec::with_capacity(size);
        for _ in 0..size {
            members.push(Member::start(&orders, &ear)?);
        }
        for member in &mut members {
            member.join().await?;
        }
        Ok(Self {
            orders,
            ear,
            members,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Kills one (`kill -9`) and starts another in its place, which joins while the others work.
    pub(super) fn replace(&mut self, index: usize) -> Result<()> {
        let heir = Member::start(&self.orders, &self.ear)?;
        if let Some(member) = self.members.get_mut(index) {
            *member = heir;
        }
        Ok(())
    }
}

impl Member {
    pub(super) fn start(orders: &Orders, ear: &Ear) -> Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the path of the program")?;
        let mut child = keeper::spawn(program, |command| {
            command.args(["member", "--url", &orders.url, "--group", &orders.group]);
            command.args(["--lease", &orders.lease.to_string()]);
            command.args(orders.aborts.then_some("--aborts"));
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        })?;
        let said = child.stdout.take().context("the output of a member")?;
        let (join, joined) = mpsc::channel();
        let ear = Arc::clone(ear);
        let reader = thread::Builder::new()
            .name("member-reader".into())
            .spawn(move || {
                for line in BufReader::new(said).lines().map_while(Result::ok) {
                    // A line that a kill cut short is no report.
                    if let Ok(report) = line.parse::<Report>() {
                        if report == Report::Joined {
                            let _ = join.send(());
                        }
                        ear(&report);
                    }
                }
            })?;
        Ok(Self {
            child,
            joined,
            reader: Some(reader),
        })
    }

    /// Waits until it has joined.
    pub(super) async fn join(&mut self) -> Result<()> {
        let joined = std::mem::replace(&mut self.joined, mpsc::channel().1);
        tokio::task::spawn_blocking(move || joined.recv_timeout(JOIN_TIMEOUT))
            .await?
            .context("a member did not join")
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it had said by then counts.
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
