//! Where the messages come from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bus::{Raw, Topic};
use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader, stdin};

use super::Publish;
use crate::payload;
use crate::show::Line;

/// A message to publish.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) message: Raw,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) id: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) causation_id: Option<String>,
    pub(super) subject: Option<String>,
}

/// Where the messages come from.
pub(super) enum Input {
    /// One message, several times.
    Same(Box<Draft>, u64),
    /// A line each.
    Lines(Lines),
}

/// Lines of a file or of standard input.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Send + Unpin>,
    number: u64,
    json: bool,
    /// What a line does not say.
    pattern: Pattern,
}

/// What all messages have unless a line says otherwise.
struct Pattern {
    topic: Option<Topic>,
    event_type: Option<String>,
    content_type: Option<String>,
    key: Option<String>,
    headers: BTreeMap<String, String>,
    id: Option<String>,
    correlation_id: Option<String>,
}

impl Input {
    /// # Errors
    /// The topic is none, the file cannot be read.
    pub(super) async fn open(arguments: &Publish) -> Result<Self> {
        let pattern = Pattern {
            topic: arguments.topic.as_ref().map(Topic::new).transpose()?,
            event_type: arguments.event_type.clone(),
            content_type: arguments.content_type.clone(),
            key: arguments.key.clone(),
            headers: arguments.headers.iter().cloned().collect(),
            id: arguments.id.clone(),
            correlation_id: arguments.correlation_id.clone(),
        };
        let mut reader: Box<dyn AsyncBufRead + Send + Unpin> = match &arguments.file {
            None => Box::new(BufReader::new(stdin())),
            Some(path) => {
                let file = tokio::fs::File::open(path).await;
                let file = file.with_context(|| format!("cannot read {}", path.display()))?;
                Box::new(BufReader::new(file))
            }
        };
        if arguments.lines || arguments.ndjson {
            return Ok(Self::Lines(Lines {
                reader,
                number: 0,
                json: arguments.ndjson,
                pattern,
            }));
        }
        let payload = if arguments.file.is_some() {
            let mut bytes = Vec::new();
            let read = reader.read_to_end(&mut bytes).await;
            read.context("cannot read the file")?;
            bytes.into()
        } else {
            payload::read(arguments.payload.as_deref()).await?
        };
        let draft = pattern.draft(payload)?;
        Ok(Self::Same(Box::new(draft), arguments.count.unwrap_or(1)))
    }

    /// The next message; `None` at the end. Cancel safe as long as the command ends then.
    pub(super) async fn next(&mut self) -> Result<Option<Draft>> {
        match self {
            Self::Same(_, 0) => Ok(None),
            Self::Same(draft, left) => {
                *left -= 1;
                Ok(Some(draft.as_ref().clone()))
            }
            Self::Lines(lines) => lines.next().await,
        }
    }
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Draft>> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.read_until(b'\n', &mut line).await;
            if read.context("cannot read the input")? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let end = line.iter().rposition(|byte| !b"\r\n".contains(byte));
            line.truncate(end.map_or(0, |end| end + 1));
            if !self.json {
                return self.pattern.draft(line.into()).map(Some);
            }
            if line.is_empty() {
                continue;
            }
            let number = self.number;
            let draft = self.pattern.of_json(&line);
            return draft.with_context(|| format!("line {number}")).map(Some);
        }
    }
}

impl Pattern {
    fn draft(&self, payload: Bytes) -> Result<Draft> {
        let Some(topic) = self.topic.clone() else {
            bail!("no topic: name one on the command line or in the line");
        };
        let content_type = match &self.content_type {
            Some(content_type) => content_type.clone(),
            None => payload::content_type(&payload).into(),
        };
        Ok(Draft {
            message: Raw {
                topic,
                event_type: self.event_type.clone().map(Into::into),
                content_type: Some(content_type.into()),
                key: self.key.clone().map(Into::into),
                payload,
            },
            headers: self.headers.clone(),
            id: self.id.clone(),
            correlation_id: self.correlation_id.clone(),
            causation_id: None,
            subject: None,
        })
    }

    fn of_json(&self, line: &[u8]) -> Result<Draft> {
        // The library's text would show a part of the payload.
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            anyhow::anyhow!("no JSON object of a message, at column {}", error.column())
        })?;
        let payload: Bytes = match (line.payload, line.text, line.hex) {
            (Some(json), None, None) => Box::<str>::from(json).into_string().into(),
            (None, Some(text), None) => text.into(),
            (None, None, Some(digits)) => hex::decode(digits).context("`hex`")?.into(),
            (None, None, None) => Bytes::new(),
            _ => bail!("one of `payload`, `text` and `hex` is enough"),
        };
        let own = Self {
            topic: match line.topic {
                Some(topic) if self.topic.is_none() => Some(Topic::new(topic)?),
                _ => self.topic.clone(),
            },
            event_type: line.r#type.or_else(|| self.event_type.clone()),
            content_type: line.content_type.or_else(|| self.content_type.clone()),
            key: line.key.or_else(|| self.key.clone()),
            headers: self
                .headers
                .clone()
                .into_iter()
                .chain(line.headers)
                .collect(),
            id: line.id,
            correlation_id: line.correlation_id.or_else(|| self.correlation_id.clone()),
        };
        let mut draft = own.draft(payload)?;
        if let Some(digits) = line.key_hex {
            draft.message.key = Some(hex::decode(digits).context("`key_hex`")?.into());
        }
        draft.causation_id = line.causation_id;
        draft.subject = line.subject;
        Ok(draft)
    }
}
