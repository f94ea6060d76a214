use std::sync::Arc;
use bus_api::*;
use crate::{bus::Leaving, core::Anchor};
pub(crate) async fn respond(_a: &Arc<Anchor>, _l: &Leaving, _s: ResponderSpec) -> Result<Requests> { Err(crate::error::error(ErrorKind::Unsupported, "not yet")) }
