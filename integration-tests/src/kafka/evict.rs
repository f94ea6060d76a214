//! A group that the broker loses: no client library can take the members out of a group, so the two requests are
//! written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use super::PATIENCE;

const LEAVE_GROUP: i16 = 13;
const DELETE_GROUPS: i16 = 42;
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

    fn ask(&mut self, key: i16, body: &[u8]) -> Result<Vec<u8>> {
        let mut request = key.to_be_bytes().to_vec();
        // The versions before flexible ones.
        request.extend(1_i16.to_be_bytes());
        request.extend(0_i32.to_be_bytes());
        put(&mut request, "test")?;
        request.extend(body);
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

fn put(out: &mut Vec<u8>, text: &str) -> Result<()> {
    out.extend(i16::try_from(text.len())?.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}
