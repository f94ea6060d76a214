//! What a client tells and asks beside its answers. rdkafka polls for it with what a producer or a consumer
//! does; a client that is only asked questions would never be heard.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Event, Queue};

/// Room for what the client library has to say about a token.
const COMPLAINT: usize = 512;

/// How long it waits for something before it looks whether it is still wanted.
const STEP: Duration = Duration::from_millis(100);

/// Hands on what a client has to tell until `is_over`.
pub(crate) fn serve<C: ClientContext>(client: &Client<C>, is_over: impl Fn() -> bool) {
    // SAFETY: the client is alive; the reference to its queue is given back by `Queue`.
    let queue = Queue(unsafe { native::rd_kafka_queue_get_main(client.native_ptr()) });
    while !is_over() {
        if let Some(event) = queue.wait(STEP) {
            hear(client, &event);
        }
    }
}

/// Hands on one event.
pub(super) fn hear<C: ClientContext>(client: &Client<C>, event: &Event) {
    // SAFETY: the event is alive, and with it the texts in it.
    unsafe {
        match native::rd_kafka_event_type(event.0) {
            native::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
                let code =
                    native::rd_kafka_event_log(event.0, &mut facility, &mut text, &mut level);
                if code == 0 {
                    client
                        .context()
                        .log(severity(level), &read(facility), &read(text));
                }
            }
            native::RD_KAFKA_EVENT_ERROR => {
                let code = RDKafkaErrorCode::from(event.code());
                let reason = read(native::rd_kafka_event_error_string(event.0));
                client.context().error(KafkaError::Global(code), &reason);
            }
            native::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => refresh(client),
            _ => {}
        }
    }
}

/// The levels of syslog.
fn severity(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// # Safety
/// `text` is null or a C string.
unsafe fn read(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as promised, and not null.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn refresh<C: ClientContext>(client: &Client<C>) {
    if let Err(failed) = set_token(client) {
        let why = CString::new(failed).unwrap_or_default();
        // SAFETY: the client and the text are alive.
        unsafe {
            native::rd_kafka_oauthbearer_set_token_failure(client.native_ptr(), why.as_ptr());
        }
    }
}

fn set_token<C: ClientContext>(client: &Client<C>) -> Result<(), String> {
    let token = client
        .context()
        .generate_oauth_token(None)
        .map_err(|failed| failed.to_string())?;
    let zero = |_| "a token with a zero byte".to_owned();
    let text = CString::new(token.token).map_err(zero)?;
    let principal = CString::new(token.principal_name).map_err(zero)?;
    let mut complaint: [c_char; COMPLAINT] = [0; COMPLAINT];
    // SAFETY: the client, the texts and the room for the complaint are alive.
    unsafe {
        let code = native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            text.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            complaint.as_mut_ptr(),
            COMPLAINT,
        );
        match code {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            _ => Err(read(complaint.as_ptr())),
        }
    }
}
