//! The headers of a record that is to be written.

use std::ptr::NonNull;

use rdkafka::bindings as native;

/// A list of names and values, which is copied into once and then handed over with its record. rdkafka's own does not
/// give its pointer to whoever calls librdkafka itself.
#[derive(Debug)]
pub(crate) struct Headers(Option<NonNull<native::rd_kafka_headers_t>>);

// SAFETY: the list belongs to whoever has it, and librdkafka keeps nothing of it elsewhere.
unsafe impl Send for Headers {}

impl Headers {
    /// No headers.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// With room for `expected`.
    pub(crate) fn with_capacity(expected: usize) -> Self {
        // SAFETY: it has no conditions.
        Self(NonNull::new(unsafe {
            native::rd_kafka_headers_new(expected)
        }))
    }

    /// Adds one.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        if self.0.is_none() {
            *self = Self::with_capacity(1);
        }
        let (Some(list), Ok(name_size), Ok(value_size)) = (
            self.0,
            isize::try_from(name.len()),
            isize::try_from(value.len()),
        ) else {
            return;
        };
        // SAFETY: the list is alive; name and value have these sizes and are copied. An empty value is a value: its
        // pointer is not null.
        unsafe {
            native::rd_kafka_header_add(
                list.as_ptr(),
                name.as_ptr().cast(),
                name_size,
                value.as_ptr().cast(),
                value_size,
            );
        }
    }

    /// The list, or null; it stays ours.
    pub(super) fn pointer(&self) -> *mut native::rd_kafka_headers_t {
        self.0.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    /// Leaves the list to librdkafka, which has taken it with its record.
    pub(super) fn handed_over(mut self) {
        self.0 = None;
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if let Some(list) = self.0 {
            // SAFETY: it is ours, and freed once.
            unsafe { native::rd_kafka_headers_destroy(list.as_ptr()) }
        }
    }
}
