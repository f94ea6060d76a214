//! The rights that the documentation lists, given to users of a server under test.

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;

const DOCUMENT: &str = include_str!("../../../docs/transports/redis.md");

/// What a user may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Creates topics and subscriptions.
    Service,
    /// Uses what is there: `provision` is `verify` or `none`.
    Guest,
}

/// The password, one word, of every user that [`grant`] makes.
pub const PASSWORD: &str = "a-word-of-the-test";

/// Makes `user` with exactly the documented rights of `role` in a namespace.
///
/// # Errors
/// The server refuses, or the document has no such user.
pub async fn grant(
    admin: &mut MultiplexedConnection,
    user: &str,
    role: Role,
    namespace: &str,
) -> Result<()> {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(user).arg("reset");
    for rule in rules(role)? {
        command.arg(
            rule.replace("~bus:", &format!("~{namespace}:"))
                .replace("&bus:", &format!("&{namespace}:"))
                .replace(">PASSWORD", &format!(">{PASSWORD}")),
        );
    }
    command
        .query_async::<()>(admin)
        .await
        .with_context(|| format!("the server does not take the rights of {role:?}"))
}

/// The line of a server's configuration that makes `user` a service in every namespace at once.
///
/// # Errors
/// The document has no such user.
pub fn line_for_all(user: &str) -> Result<String> {
    let mut words = vec![format!("user {user}")];
    for rule in rules(Role::Service)? {
        // Patterns that are listened to are compared letter by letter: there is no rule for all of them.
        if !rule.starts_with('&') {
            words.push(
                rule.replace("resetchannels", "allchannels")
                    .replace("~bus:", "~*:")
                    .replace(">PASSWORD", &format!(">{PASSWORD}")),
            );
        }
    }
    Ok(words.join(" "))
}

fn rules(role: Role) -> Result<impl Iterator<Item = &'static str>> {
    let name = match role {
        Role::Service => "bus-service",
        Role::Guest => "bus-guest",
    };
    let (_, rest) = DOCUMENT
        .split_once(&format!("```acl\nuser {name} "))
        .with_context(|| format!("docs/transports/redis.md does not list {name}"))?;
    let (rules, _) = rest.split_once("```").context("the list has no end")?;
    Ok(rules.split_whitespace())
}
