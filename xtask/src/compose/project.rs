//! A project of docker compose, from up to down.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long everything may take to be up and to have run.
const PATIENCE: Duration = Duration::from_secs(300);

/// The containers, networks and volumes of one run.
pub struct Project {
    name: String,
    profiles: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Project {
    pub fn new(what: &str, profiles: &[&str], variables: Vec<(&'static str, String)>) -> Self {
        Self {
            name: format!("bus-test-{what}-{}", std::process::id()),
            profiles: profiles.iter().map(ToString::to_string).collect(),
            variables,
        }
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--ansi", "never", "--project-name", &self.name]);
        for profile in &self.profiles {
            command.args(["--profile", profile]);
        }
        // A BUS_URL of whoever runs this is none of the demonstration's.
        command.env_remove("BUS_URL");
        command.args(arguments).envs(self.variables.iter().cloned());
        command
    }

    pub fn up(&self) -> Result<()> {
        let up = ["up", "--detach", "--no-build", "--quiet-pull"];
        output(&mut self.compose(&up)).map(drop)
    }

    /// The exit code of a service that ends by itself.
    pub fn wait(&self, service: &str) -> Result<i32> {
        let begun = Instant::now();
        loop {
            let state = self.state(service)?;
            if let Some(code) = state.strip_prefix("exited ") {
                let code = code.split(' ').next().unwrap_or_default();
                return code.parse().with_context(|| format!("{service}: {state}"));
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{service} does not end: {state}"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    pub fn healthy(&self, service: &str) -> Result<()> {
        let state = self.state(service)?;
        ensure!(state == "running 0 healthy", "{service} is {state}");
        Ok(())
    }

    /// State, exit code and health, such as `running 0 healthy`.
    fn state(&self, service: &str) -> Result<String> {
        let container = output(&mut self.compose(&["ps", "--all", "--quiet", service]))?;
        if container.is_empty() {
            bail!("there is no container of {service}");
        }
        let format = "{{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
        let inspect = ["inspect", "--format", format, &container];
        Ok(output(Command::new("docker").args(inspect))?
            .trim()
            .to_owned())
    }

    /// Ends the services as an operator does.
    pub fn stop(&self) -> Result<()> {
        output(&mut self.compose(&["stop"])).map(drop)
    }

    /// Shows what the services said.
    pub fn logs(&self) {
        for arguments in [&["ps", "--all"][..], &["logs", "--tail", "30"]] {
            let _ = self.compose(arguments).status();
        }
    }

    /// Removes everything, and nothing is left.
    pub fn down(&self) -> Result<()> {
        output(&mut self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "30"]))?;
        let label = format!("label=com.docker.compose.project={}", self.name);
        for things in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
            let mut list = Command::new("docker");
            list.args(things).args(["--quiet", "--filter", &label]);
            let left = output(&mut list)?;
            ensure!(
                left.is_empty(),
                "docker {}: {left} is left",
                things.join(" ")
            );
        }
        Ok(())
    }
}

/// What a command writes; its complaints when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        done.status.success(),
        "{shown}: {}\n{}\n{}",
        done.status,
        text(&done.stdout),
        text(&done.stderr)
    );
    Ok(text(&done.stdout))
}
