//! Exit codes, and what is said about a failure.

use std::io;
use std::process::ExitCode;

use bus::ErrorKind;
use serde_json::json;

use crate::output::Output;

/// It was done in part, or what was looked at is not well.
pub(crate) const FAILED: u8 = 1;
const CONFIGURATION: u8 = 3;
const UNAVAILABLE: u8 = 4;
const REFUSED: u8 = 5;
const NOT_FOUND: u8 = 6;
/// Ended by Ctrl-C before it was done.
pub(crate) const INTERRUPTED: u8 = 130;

/// Says why the command failed, in one line.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    if is_closed_pipe(error) {
        // Who read the output has seen enough, as in `bus sub '>' | head`.
        return ExitCode::SUCCESS;
    }
    let kind = error.downcast_ref::<bus::Error>().map(bus::Error::kind);
    let mut text = format!("{error:#}").replace(['\n', '\r'], " ");
    if let Some(remedy) = kind.and_then(remedy) {
        text = format!("{text}; {remedy}");
    }
    if output.is_json() {
        let kind = kind.map_or("failed", ErrorKind::as_str);
        output.complain(&json!({"error": {"kind": kind, "message": text}}).to_string());
    } else {
        output.complain(&format!("bus: {text}"));
    }
    ExitCode::from(kind.map_or(FAILED, code))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidConfig
        | ErrorKind::InvalidTopic
        | ErrorKind::InvalidArgument
        | ErrorKind::Unsupported => CONFIGURATION,
        ErrorKind::Unavailable => UNAVAILABLE,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => REFUSED,
        ErrorKind::NotFound => NOT_FOUND,
        _ => FAILED,
    }
}

/// What the user can do, where the error itself cannot know.
fn remedy(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Unavailable => "check that the broker runs, and host and port of the URL",
        ErrorKind::Unauthenticated => {
            "check user and password (in the URL, or `user` and `password_file` in bus.toml)"
        }
        ErrorKind::PermissionDenied => "ask the operator of the broker for the right to do this",
        ErrorKind::NoResponders => "start a responder of this topic, such as `bus reply`",
        ErrorKind::Timeout => "the answer may come later than this waits; see --timeout",
        _ => return None,
    })
}
