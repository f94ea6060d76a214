use std::sync::Arc;
use bus_api::*;
use crate::core::Core;
#[derive(Debug)] pub(crate) struct Requester;
impl Requester { pub(crate) fn new(_c: &Arc<Core>) -> Arc<Self> { Arc::new(Self) }
 pub(crate) async fn request(&self, _m: Message, _d: tokio::time::Instant) -> Result<Message> { Err(crate::error::error(ErrorKind::Unsupported, "not yet")) } }
