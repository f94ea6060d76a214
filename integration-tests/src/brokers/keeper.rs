//! Child processes that die with this one.

use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

use anyhow::{Context, Result, anyhow};

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread that starts children. The kernel sends a child its death signal when the *thread* that
/// started it ends, and threads of tests end early; this one does not.
static KEEPER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::Builder::new()
        .name("broker-keeper".into())
        .spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked may have given up.
                let _ = answer.send(command.spawn());
            }
        })
        .map(drop)
        .unwrap_or_default();
    orders
});

/// Starts `program` so that it is killed when this process ends, however it ends.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn spawn(program: &str, configure: impl FnOnce(&mut Command)) -> Result<Child> {
    // setpriv (util-linux) sets the death signal and then becomes the program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    configure(&mut command);
    let (answer, started) = mpsc::channel();
    KEEPER
        .send((command, answer))
        .map_err(|_| anyhow!("the keeper of child processes is gone"))?;
    started
        .recv()
        .context("the keeper of child processes gave no answer")?
        .with_context(|| format!("cannot start {program}"))
}
