//! The latest changes, encoded once for all readers of the event stream.
//!
//! A reader that has seen everything up to a position gets what came after it from here, or is told to read the log of
//! changes, which goes further back. So a slow reader costs no memory here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use reachability_domain::identity::Identity;
use reachability_domain::presence::change::Notice;
use reachability_domain::sid::ServiceSid;
use tokio::sync::watch;

/// How many bytes of events are kept of one service.
const BYTES_OF_SERVICE: usize = 1 << 20;

/// How many bytes of events are kept of all services.
const BYTES: usize = 32 << 20;

/// Maximum number of readers, however many connections there may be.
const READERS: usize = 4_096;

/// How many events a reader takes at a time: others wait meanwhile.
const AT_ONCE: usize = 256;

/// A change, as the stream has it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Its position in the log of changes.
    pub(crate) id: u64,
    /// The user who changed; `None` if the service did.
    pub(crate) identity: Option<Identity>,
    /// The bytes that readers get.
    pub(crate) frame: Bytes,
}

impl Event {
    pub(crate) fn of(id: u64, notice: &Notice) -> Self {
        let frame = format!("id: {id}\ndata: {}\n\n", notice.to_json());
        Self { id, identity: notice.identity().cloned(), frame: frame.into() }
    }
}

/// The latest changes of the services that have readers. Clones share them.
#[derive(Clone)]
pub struct EventStream(Arc<Mutex<Latest>>);

struct Latest {
    /// The position up to which changes were published.
    position: u64,
    services: HashMap<ServiceSid, LatestOfService>,
    readers: usize,
    max_readers: usize,
    bytes: usize,
    is_closed: bool,
}

struct LatestOfService {
    /// All changes of the service that were published after this position are here.
    start: u64,
    events: VecDeque<Event>,
    bytes: usize,
    readers: usize,
    /// Wakes the readers. It is dropped when the stream is closed.
    published: watch::Sender<()>,
}

/// What a reader finds behind a position.
#[derive(Debug)]
pub(crate) enum Found {
    /// These changes, and possibly more.
    Events(Vec<Event>),
    /// No change up to this position.
    Nothing(u64),
    /// Changes that are not here any more: the log has them.
    Older,
    /// The stream is closed.
    Closed,
}

impl EventStream {
    /// A stream of what is published after a position: that of the log's end when the process starts. It has so many readers at
    /// a time, and no more than 4,096.
    pub fn new(position: u64, max_readers: usize) -> Self {
        Self(Arc::new(Mutex::new(Latest {
            position,
            services: HashMap::new(),
            readers: 0,
            max_readers: max_readers.min(READERS),
            bytes: 0,
            is_closed: false,
        })))
    }

    /// Publishes rows of the log, in their order, with the change that each tells, if any. They must survive a power cut.
    pub fn publish<'a>(&self, rows: impl IntoIterator<Item = (u64, Option<&'a Notice>)>) {
        let mut told = HashMap::new();
        let mut guard = self.lock();
        let latest = &mut *guard;
        for (id, notice) in rows {
            latest.position = latest.position.max(id);
            let Some(notice) = notice else { continue };
            // Nobody reads most services, and what nobody reads is not encoded.
            let Some(service) = latest.services.get_mut(&notice.service()) else { continue };
            if id <= service.start || service.events.back().is_some_and(|last| id <= last.id) {
                continue;
            }
            let event = Event::of(id, notice);
            service.bytes += event.frame.len();
            latest.bytes += event.frame.len();
            service.events.push_back(event);
            while (service.bytes > BYTES_OF_SERVICE || latest.bytes > BYTES)
                && let Some(oldest) = service.events.pop_front()
            {
                service.start = oldest.id;
                service.bytes -= oldest.frame.len();
                latest.bytes -= oldest.frame.len();
            }
            told.entry(notice.service()).or_insert_with(|| service.published.clone());
        }
        drop(guard);
        for published in told.values() {
            published.send_replace(());
        }
    }

    /// Ends the stream for all readers.
    pub fn close(&self) {
        let mut latest = self.lock();
        latest.is_closed = true;
        latest.services.clear();
    }

    /// A new reader of a service; `None` if there are too many.
    pub(crate) fn reader(&self, service: ServiceSid) -> Option<Reader> {
        let mut latest = self.lock();
        if latest.readers >= latest.max_readers {
            return None;
        }
        latest.readers += 1;
        let start = latest.position;
        let of_service = latest.services.entry(service).or_insert_with(|| LatestOfService {
            start,
            events: VecDeque::new(),
            bytes: 0,
            readers: 0,
            published: watch::Sender::new(()),
        });
        of_service.readers += 1;
        let published = of_service.published.subscribe();
        drop(latest);
        Some(Reader { stream: self.clone(), service, published })
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of a service's changes.
pub(crate) struct Reader {
    stream: EventStream,
    pub(crate) service: ServiceSid,
    published: watch::Receiver<()>,
}

impl Reader {
    /// The changes after a position.
    pub(crate) fn after(&mut self, position: u64) -> Found {
        self.published.mark_unchanged();
        let latest = self.stream.lock();
        let Some(service) = latest.services.get(&self.service).filter(|_| !latest.is_closed) else {
            return Found::Closed;
        };
        if position < service.start {
            return Found::Older;
        }
        let first = service.events.partition_point(|event| event.id <= position);
        if first == service.events.len() {
            return Found::Nothing(position.max(latest.position));
        }
        Found::Events(service.events.range(first..).take(AT_ONCE).cloned().collect())
    }

    /// Waits until something was published, or the stream was closed, since the last look.
    pub(crate) async fn published(&mut self) {
        // An error means that the stream is closed: the next look finds that out.
        let _ = self.published.changed().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut latest = self.stream.lock();
        latest.readers -= 1;
        let Some(service) = latest.services.get_mut(&self.service) else { return };
        service.readers -= 1;
        if service.readers == 0 {
            let bytes = service.bytes;
            latest.bytes -= bytes;
            latest.services.remove(&self.service);
        }
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::directory::configuration::Generation;
    use reachability_domain::presence::change::{Switch, SwitchReason, Switched};
    use reachability_domain::sid::Sid;

    use super::*;

    fn change(service: u128) -> Notice {
        let value = |reachability_enabled| Switched { reachability_enabled, generation: Generation(1) };
        Notice::Service(Switch {
            service_sid: Sid::from_bits(service),
            after: value(true),
            before: value(false),
            reason: SwitchReason::Switched,
            at: None,
        })
    }

    fn ids(found: Found) -> Vec<u64> {
        match found {
            Found::Events(events) => events.iter().map(|event| event.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reader_finds_what_was_published_since_it_came() {
        let stream = EventStream::new(10, 1);
        let (mine, other) = (change(1), change(2));
        stream.publish([(11, Some(&mine))]);
        let mut reader = stream.reader(mine.service()).unwrap();
        assert!(matches!(reader.after(10), Found::Older), "it came later");
        assert!(matches!(reader.after(11), Found::Nothing(11)));
        assert!(matches!(reader.after(15), Found::Nothing(15)), "the log was read further than this");
        stream.publish([(12, Some(&mine)), (13, Some(&other)), (14, None), (15, Some(&mine)), (16, None)]);
        assert_eq!(ids(reader.after(11)), [12, 15]);
        assert_eq!(ids(reader.after(12)), [15]);
        assert!(matches!(reader.after(15), Found::Nothing(16)));
        // A row may be delivered again.
        stream.publish([(15, Some(&mine)), (17, Some(&mine))]);
        assert_eq!(ids(reader.after(12)), [15, 17]);
        stream.close();
        assert!(matches!(reader.after(17), Found::Closed));
    }

    #[test]
    fn who_takes_nothing_costs_a_bounded_memory() {
        let stream = EventStream::new(0, 100);
        let mine = change(1);
        let size = Event::of(1, &mine).frame.len();
        let mut reader = stream.reader(mine.service()).unwrap();
        let count = u64::try_from(2 * BYTES_OF_SERVICE / size).unwrap();
        (1..=count).for_each(|id| stream.publish([(id, Some(&mine))]));
        assert!(stream.lock().bytes <= BYTES_OF_SERVICE);
        assert!(matches!(reader.after(0), Found::Older));
        let start = stream.lock().services[&mine.service()].start;
        assert_eq!(ids(reader.after(start)).first(), Some(&(start + 1)), "nothing is missing behind what went");

        // All services together are bounded too.
        let others: Vec<Reader> = (2..40).map(|service| stream.reader(Sid::from_bits(service)).unwrap()).collect();
        for service in 2..40 {
            let notice = change(service);
            (1..=count / 2).for_each(|id| stream.publish([(count + id, Some(&notice))]));
        }
        let bytes = stream.lock().bytes;
        assert!((BYTES / 2..=BYTES).contains(&bytes), "{bytes}");
        drop((others, reader));
        let latest = stream.lock();
        assert_eq!((latest.bytes, latest.readers, latest.services.len()), (0, 0, 0));
    }

    #[test]
    fn there_are_so_many_readers() {
        let stream = EventStream::new(0, 2);
        let reader = |service| stream.reader(Sid::from_bits(service));
        let (first, _second) = (reader(1).unwrap(), reader(2).unwrap());
        assert!(reader(1).is_none());
        drop(first);
        assert!(reader(1).is_some());
    }

    #[tokio::test]
    async fn readers_wait_for_changes_of_their_service_and_for_the_end() {
        let stream = EventStream::new(0, 2);
        let mut reader = stream.reader(change(1).service()).unwrap();
        assert!(matches!(reader.after(0), Found::Nothing(0)));
        stream.publish([(1, Some(&change(1)))]);
        reader.published().await;
        assert_eq!(ids(reader.after(0)), [1]);
        stream.close();
        reader.published().await;
        assert!(matches!(reader.after(1), Found::Closed));
        let mut late = stream.reader(change(1).service()).unwrap();
        assert!(matches!(late.after(0), Found::Closed), "the stream stays closed");
    }
}
