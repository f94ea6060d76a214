//! A group that the broker loses: no client library can take the members out of a group, so these requests are
//! written by hand. Members of the newer protocol have their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use super::PATIENCE;

const LEAVE_GROUP: i16 = 13;
const DELETE_GROUPS: i16 = 42;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
const CONSUMER_GROUP_DESCRIBE: i16 = 69;
/// The epoch of a heartbeat that says farewell.
const LEAVING: i32 = -1;
/// The error of a group that has members.
const NON_EMPTY_GROUP: i16 = 68;

/// A connection to the broker that coordinates the group.
pub(super) struct Coordinator(TcpStream);

impl Coordinator {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Takes a member out of its group; the member hears of it with its next heartbeat.
    pub(super) fn evict(&mut self, group: &str, member: &str) -> Result<()> {
        let mut body = Vec::new();
        put(&mut body, group)?;
        put(&mut body, member)?;
        self.ask(LEAVE_GROUP, &body).map(drop)
    }

    /// A member of a group of the newer protocol.
    pub(super) fn newer_member(&mut self, group: &str) -> Result<Option<String>> {
        let mut body = vec![1 + 1];
        put_compact(&mut body, group)?;
        // No authorized operations; no tagged fields.
        body.extend([0, 0]);
        let answer = self.ask_newer(CONSUMER_GROUP_DESCRIBE, &body)?;
        let mut answer = Answer(&answer);
        // Number and tagged fields of the answer.
        answer.skip(4 + 1)?;
        // Throttling, how many groups, and the group's code.
        answer.skip(4)?;
        answer.length()?;
        answer.skip(2)?;
        // Message, name, state.
        for _ in 0..3 {
            answer.text()?;
        }
        // Epochs, and who assigns.
        answer.skip(4 + 4)?;
        answer.text()?;
        match answer.length()? {
            0 => Ok(None),
            _ => answer.text().map(Some),
        }
    }

    /// Takes a member of the newer protocol out of its group.
    pub(super) fn evict_newer(&mut self, group: &str, member: &str) -> Result<()> {
        let mut body = Vec::new();
        put_compact(&mut body, group)?;
        put_compact(&mut body, member)?;
        body.extend(LEAVING.to_be_bytes());
        // Neither instance nor rack; the time for rebalancing stays.
        body.extend([0, 0]);
        body.extend((-1_i32).to_be_bytes());
        // Nothing to tell of topics, assignors and partitions; no tagged fields.
        body.extend([0, 0, 0, 0]);
        self.ask_newer(CONSUMER_GROUP_HEARTBEAT, &body).map(drop)
    }

    /// Deletes a group with its positions; `false` while it has members.
    pub(super) fn delete(&mut self, group: &str) -> Result<bool> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        put(&mut body, group)?;
        let answer = self.ask(DELETE_GROUPS, &body)?;
        let code = answer.last_chunk::<2>().context("an empty answer")?;
        match i16::from_be_bytes(*code) {
            0 => Ok(true),
            NON_EMPTY_GROUP => Ok(false),
            code => bail!("deleting {group}: code {code}"),
        }
    }

    /// Asks in the form before the flexible ones.
    fn ask(&mut self, key: i16, body: &[u8]) -> Result<Vec<u8>> {
        self.exchange(&[&head(key, 1)?, body].concat())
    }

    /// Asks in the flexible form.
    fn ask_newer(&mut self, key: i16, body: &[u8]) -> Result<Vec<u8>> {
        let no_tags = [0];
        self.exchange(&[&head(key, 0)?, &no_tags[..], body].concat())
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let mut frame = i32::try_from(request.len())?.to_be_bytes().to_vec();
        frame.extend(request);
        self.0.write_all(&frame)?;
        let mut size = [0; 4];
        self.0.read_exact(&mut size)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size))?];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn head(key: i16, version: i16) -> Result<Vec<u8>> {
    let mut head = [key.to_be_bytes(), version.to_be_bytes()].concat();
    head.extend(0_i32.to_be_bytes());
    put(&mut head, "test")?;
    Ok(head)
}

/// What is left of an answer in the flexible form; lengths below 127 only, which those of these tests are.
struct Answer<'a>(&'a [u8]);

impl Answer<'_> {
    fn skip(&mut self, bytes: usize) -> Result<()> {
        self.0 = self.0.get(bytes..).context("a short answer")?;
        Ok(())
    }

    fn length(&mut self) -> Result<usize> {
        let length = *self.0.first().context("a short answer")?;
        self.skip(1)?;
        Ok(usize::from(length).saturating_sub(1))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.length()?;
        let text = self.0.get(..length).context("a short answer")?;
        let text = String::from_utf8(text.to_vec())?;
        self.skip(length)?;
        Ok(text)
    }
}

fn put_compact(out: &mut Vec<u8>, text: &str) -> Result<()> {
    out.push(u8::try_from(text.len() + 1)?);
    out.extend(text.as_bytes());
    Ok(())
}

fn put(out: &mut Vec<u8>, text: &str) -> Result<()> {
    out.extend(i16::try_from(text.len())?.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}
