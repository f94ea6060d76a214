//! Asking before something is gone for good.

use std::io::{IsTerminal, stdin};

use anyhow::{Result, bail};
use console::Term;

/// Asks whether to do `what`; `--yes` has answered already.
///
/// # Errors
/// Nobody can be asked, or the answer was no.
pub(crate) fn confirm(what: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        bail!("this would {what}; say --yes to do it, or --dry-run to see what would happen");
    }
    let term = Term::stderr();
    term.write_str(&format!("This will {what}. Type yes to go on: "))?;
    if term.read_line()?.trim() != "yes" {
        bail!("nothing was done");
    }
    Ok(())
}
