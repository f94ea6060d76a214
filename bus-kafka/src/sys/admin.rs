//! Administrative calls. All of them block; each takes the time it may take.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::time::Duration;

use bus_api::Result;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::{Client, ClientContext};

use super::{Element, Event, List, Queue, read_element, read_list, text};
use crate::error::{from_code, no_answer, senseless};

/// A topic as the broker describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// Id and number of partitions; `None`: there is no such topic.
    pub(crate) found: Option<(u128, usize)>,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The first that is stored.
    Earliest,
    /// The next that will be stored.
    Latest,
    /// The first that was stored at this time, in milliseconds since 1970, or later.
    At(i64),
}

impl When {
    fn raw(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::At(millis) => millis.max(0),
        }
    }
}

fn answer(queue: &Queue, patience: Duration) -> Result<Event> {
    let event = queue.wait(patience).ok_or_else(no_answer)?;
    match event.code() {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
        code => Err(from_code(code.into())),
    }
}

/// # Safety
/// `error` is null or valid.
unsafe fn code_of(error: *const native::rd_kafka_error_t) -> Code {
    if error.is_null() {
        return Code::RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    // SAFETY: as promised, and not null.
    unsafe { native::rd_kafka_error_code(error) }
}

fn pointers(names: &[std::ffi::CString]) -> Vec<*const c_char> {
    names.iter().map(|name| name.as_ptr()).collect()
}

/// What the broker says about topics.
pub(crate) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    patience: Duration,
) -> Result<Vec<Described>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names = names
        .iter()
        .map(|name| text(name))
        .collect::<Result<Vec<_>>>()?;
    let mut pointers = pointers(&names);
    // SAFETY: the client, the names and the event are alive while they are used; the collection is freed.
    unsafe {
        let queue = Queue::new(client.native_ptr());
        let collection =
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        native::rd_kafka_DescribeTopics(client.native_ptr(), collection, ptr::null(), queue.0);
        native::rd_kafka_TopicCollection_destroy(collection);
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let list = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut described = Vec::with_capacity(count);
        for index in 0..count {
            let topic = *list.add(index);
            let name = native::rd_kafka_TopicDescription_name(topic);
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let found = match code_of(native::rd_kafka_TopicDescription_error(topic)) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    let id = native::rd_kafka_TopicDescription_topic_id(topic);
                    let high = native::rd_kafka_Uuid_most_significant_bits(id) as u64;
                    let low = native::rd_kafka_Uuid_least_significant_bits(id) as u64;
                    let mut partitions = 0;
                    native::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
                    Some((u128::from(high) << 64 | u128::from(low), partitions))
                }
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => None,
                code => return Err(from_code(code.into()).with("topic", name)),
            };
            described.push(Described { name, found });
        }
        Ok(described)
    }
}

/// The number of live members of each group; a group that is not there has none.
pub(crate) fn describe_groups<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    patience: Duration,
) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let c_names = names
        .iter()
        .map(|name| text(name))
        .collect::<Result<Vec<_>>>()?;
    let mut pointers = pointers(&c_names);
    // SAFETY: the client, the names and the event are alive while they are used.
    unsafe {
        let queue = Queue::new(client.native_ptr());
        native::rd_kafka_DescribeConsumerGroups(
            client.native_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            ptr::null(),
            queue.0,
        );
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let mut count = 0;
        let list = native::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let mut members = vec![0; names.len()];
        for index in 0..count {
            let group = *list.add(index);
            let name = native::rd_kafka_ConsumerGroupDescription_group_id(group);
            let name = CStr::from_ptr(name).to_string_lossy();
            let number = match code_of(native::rd_kafka_ConsumerGroupDescription_error(group)) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    native::rd_kafka_ConsumerGroupDescription_member_count(group)
                }
                Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => 0,
                code => return Err(from_code(code.into()).with("group", name)),
            };
            if let Some(at) = names.iter().position(|known| *known == name) {
                members[at] = number;
            }
        }
        Ok(members)
    }
}

/// What an offset is left at when its leader could not be asked: the client library (2.12) merges the answers of
/// several brokers and passes by one that failed, without an error (`rd_kafka_ListOffsets_response_merge`).
const UNANSWERED: i64 = native::RD_KAFKA_OFFSET_INVALID as i64;

/// One offset of each partition, in any order; a partition that is not there is left out.
pub(crate) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: impl IntoIterator<Item = (String, i32, When)>,
    patience: Duration,
) -> Result<Vec<Element>> {
    let items: Vec<Element> = partitions
        .into_iter()
        .map(|(topic, partition, when)| Element {
            topic,
            partition,
            offset: when.raw(),
            ..Element::default()
        })
        .collect();
    if items.is_empty() {
        return Ok(Vec::new());
    }
    // SAFETY: the client, the list and the event are alive while they are used.
    unsafe {
        let list = List::of(&items)?;
        let queue = Queue::new(client.native_ptr());
        native::rd_kafka_ListOffsets(client.native_ptr(), list.0, ptr::null(), queue.0);
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_ListOffsets_result(event.0);
        let mut count = 0;
        let infos = native::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let mut found = Vec::with_capacity(count);
        for index in 0..count {
            let info = native::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            let element = read_element(&*info);
            let code = if element.offset == UNANSWERED
                && (*info).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                Code::RD_KAFKA_RESP_ERR__TRANSPORT
            } else {
                (*info).err
            };
            match code {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => found.push(element),
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => {}
                code => {
                    // The client library asks the leader that it knows of again and again.
                    if is_about_the_leader(code) {
                        let _ = client.fetch_metadata(Some(&element.topic), patience);
                    }
                    return Err(from_code(code.into()).with("topic", element.topic));
                }
            }
        }
        Ok(found)
    }
}

/// Whether another broker may lead a partition by now, or the same one once more.
fn is_about_the_leader(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
    )
}

/// Everything that a group has committed.
pub(crate) fn group_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    patience: Duration,
) -> Result<Vec<Element>> {
    let name = text(group)?;
    // SAFETY: the client and the event are alive while they are used; the question is freed.
    unsafe {
        let queue = Queue::new(client.native_ptr());
        let mut question =
            native::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null());
        native::rd_kafka_ListConsumerGroupOffsets(
            client.native_ptr(),
            &mut question,
            1,
            ptr::null(),
            queue.0,
        );
        native::rd_kafka_ListConsumerGroupOffsets_destroy(question);
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
        let mut count = 0;
        let groups = native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        group_result(groups, count)
    }
}

/// Commits offsets for a group without members; `Err` of kind `Fenced`: it has some.
pub(crate) fn alter_group_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    items: &[Element],
    patience: Duration,
) -> Result<()> {
    let name = text(group)?;
    // SAFETY: the client, the list and the event are alive while they are used; the order is freed.
    unsafe {
        let list = List::of(items)?;
        let queue = Queue::new(client.native_ptr());
        let mut order = native::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.0);
        native::rd_kafka_AlterConsumerGroupOffsets(
            client.native_ptr(),
            &mut order,
            1,
            ptr::null(),
            queue.0,
        );
        native::rd_kafka_AlterConsumerGroupOffsets_destroy(order);
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_AlterConsumerGroupOffsets_result(event.0);
        let mut count = 0;
        let groups = native::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
        for element in group_result(groups, count)? {
            if element.error != 0 {
                return Err(from_raw(element.error));
            }
        }
        Ok(())
    }
}

/// Deletes a group without members; one that is not there is no error.
pub(crate) fn delete_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    patience: Duration,
) -> Result<()> {
    let name = text(group)?;
    // SAFETY: the client and the event are alive while they are used; the order is freed.
    unsafe {
        let queue = Queue::new(client.native_ptr());
        let mut order = native::rd_kafka_DeleteGroup_new(name.as_ptr());
        native::rd_kafka_DeleteGroups(client.native_ptr(), &mut order, 1, ptr::null(), queue.0);
        native::rd_kafka_DeleteGroup_destroy(order);
        let event = answer(&queue, patience)?;
        let result = native::rd_kafka_event_DeleteGroups_result(event.0);
        let mut count = 0;
        let groups = native::rd_kafka_DeleteGroups_result_groups(result, &mut count);
        group_result(groups, count).map(drop)
    }
}

/// # Safety
/// `groups` has `count` valid elements.
unsafe fn group_result(
    groups: *mut *const native::rd_kafka_group_result_t,
    count: usize,
) -> Result<Vec<Element>> {
    if count == 0 {
        return Err(senseless("a question about a group"));
    }
    // SAFETY: as promised.
    unsafe {
        let group = *groups;
        match code_of(native::rd_kafka_group_result_error(group)) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                Ok(read_list(native::rd_kafka_group_result_partitions(group)))
            }
            Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => Ok(Vec::new()),
            code => Err(from_code(code.into())),
        }
    }
}

/// The error with this number.
fn from_raw(code: i32) -> bus_api::Error {
    crate::error::from_number(code)
}
