//! A connection that is made again when it breaks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::adapter::Life;
use bus_api::{Error, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, Value};

use crate::endpoint::Endpoint;
use crate::error::{closed, from_client, from_server, unavailable};
use crate::script;

/// A connection and which one of its link it is.
pub(crate) type Numbered = (u64, MultiplexedConnection);

/// A connection for one purpose, made again when it breaks. Commands are never repeated here.
pub(crate) struct Link {
    endpoint: Arc<Endpoint>,
    life: Arc<Life>,
    answer_timeout: Duration,
    current: Mutex<Option<Numbered>>,
    connecting: tokio::sync::Mutex<u64>,
}

impl Link {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        life: Arc<Life>,
        answer_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            life,
            answer_timeout,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(0),
        })
    }

    fn current(&self) -> Option<Numbered> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives the connection up; the next command makes a new one.
    pub(crate) fn drop_connection(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The connection, made now when there is none.
    ///
    /// # Errors
    /// `Closed`; else why it cannot be made, never indeterminate.
    pub(crate) async fn connection(&self) -> Result<Numbered> {
        if self.life.is_over() {
            return Err(closed());
        }
        if let Some(found) = self.current() {
            return Ok(found);
        }
        let mut number = self.connecting.lock().await;
        if let Some(found) = self.current() {
            return Ok(found);
        }
        let made = self.connect().await;
        if self.life.is_over() {
            return Err(closed());
        }
        match made {
            Ok(connection) => {
                *number += 1;
                self.life.reached();
                let made = (*number, connection);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
                Ok(made)
            }
            Err(error) => {
                self.life.lost();
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        let connecting = async {
            let mut connection = self.endpoint.connect(self.answer_timeout).await?;
            let scripts = script::load_all();
            let replies = connection
                .req_packed_commands(&scripts, 0, scripts.len())
                .await
                .map_err(|native| from_client(&native))?;
            for reply in replies {
                ok(reply)?;
            }
            Ok(connection)
        };
        let made = tokio::time::timeout(self.endpoint.patience(), connecting).await;
        // Nothing of the caller was sent yet.
        made.map_err(|_| unavailable())?.map_err(determinate)
    }

    /// Runs one command.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value> {
        let connection = self.connection().await?;
        self.run_over(connection, command).await
    }

    /// The same over the connection that [`connection`](Self::connection) gave.
    pub(crate) async fn run_over(
        &self,
        (number, mut connection): Numbered,
        command: &Cmd,
    ) -> Result<Value> {
        match connection.req_packed_command(command).await {
            Ok(Value::ServerError(reply)) => {
                self.judge_code(number, reply.code());
                Err(crate::error::from_reply(&reply))
            }
            Ok(value) => Ok(value),
            Err(native) => Err(self.judge(number, &native)),
        }
    }

    /// Runs a pipeline: one value per command, errors of the server in place.
    pub(crate) async fn run_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connection().await?;
        self.run_all_over(connection, pipeline).await
    }

    /// The same over the connection that [`connection`](Self::connection) gave: the order of first polls is the
    /// order in which the server gets them.
    pub(crate) async fn run_all_over(
        &self,
        (number, mut connection): Numbered,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>> {
        match connection
            .req_packed_commands(pipeline, 0, pipeline.len())
            .await
        {
            Ok(values) => {
                for value in &values {
                    if let Value::ServerError(reply) = value {
                        self.judge_code(number, reply.code());
                    }
                }
                Ok(values)
            }
            Err(native) => Err(self.judge(number, &native)),
        }
    }

    fn judge_code(&self, number: u64, code: &str) {
        // Scripts are loaded when a connection is made; a replica or a restarted server needs another one.
        if matches!(code, "NOSCRIPT" | "READONLY") {
            self.give_up(number);
        }
    }

    fn judge(&self, number: u64, native: &RedisError) -> Error {
        if native.is_io_error() || native.is_unrecoverable_error() {
            self.give_up(number);
            self.life.lost();
        } else if let Some(code) = native.code() {
            self.judge_code(number, code);
        }
        if self.life.is_over() {
            return closed();
        }
        from_client(native)
    }

    fn give_up(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(known, _)| *known == number) {
            *current = None;
        }
    }
}

/// The same error, of a command that was certainly not sent.
fn determinate(error: Error) -> Error {
    if !error.is_indeterminate() {
        return error;
    }
    crate::error::error(error.kind(), error.message().to_owned())
}

/// The value of one command of a pipeline.
pub(crate) fn ok(value: Value) -> Result<Value> {
    match value {
        Value::ServerError(reply) => Err(from_server(reply.code())),
        value => Ok(value),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
