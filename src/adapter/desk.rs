//! Where commands come in: takes what the broker sends to the set topics of one wire, has it decided, passes it on to the
//! actor of the wire, and tells what became of it.
//!
//! Invariants: nothing here waits for the wire or the broker; as many commands as the wire may do at once wait for it, and
//! more are refused as `busy`; each command that is done, or was to be, is in the log with who asked, as far as that has room for one device
//! (`app/logging`); an answer goes only
//! where who asked may read, below the gateway's id only where it may publish too, and never to a set topic or one with `$`.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use super::command::{Action, Asked, Asker, Book, CommandError, Done, What, answers, lifetime};
use super::data::Data;
use super::outbox::Outbox;
use super::serial::Command;
use super::write::WriteRequest;
use crate::broker::{Link, LinkClosed, Publisher};
use crate::clock;
use crate::mqtt::Message;
use crate::shutdown::Stop;
use crate::topic::TopicName;

/// Commands that wait for a wire.
pub(super) const WAITING_MAX: usize = 16;

/// Where commands come from: the broker, or what a test puts in its place.
pub trait CommandSource: Send + 'static {
    /// The next message on a set topic, with who published it. Cancel safe.
    fn receive(
        &mut self,
    ) -> impl Future<Output = Result<(Message, Option<Publisher>), LinkClosed>> + Send;
}

impl CommandSource for Link {
    fn receive(
        &mut self,
    ) -> impl Future<Output = Result<(Message, Option<Publisher>), LinkClosed>> + Send {
        self.receive_from()
    }
}

/// Nobody asks for anything.
#[derive(Clone, Copy, Debug)]
pub struct NoCommands;

impl CommandSource for NoCommands {
    fn receive(
        &mut self,
    ) -> impl Future<Output = Result<(Message, Option<Publisher>), LinkClosed>> + Send {
        std::future::pending()
    }
}

/// A write for the actor of a wire.
#[derive(Debug)]
pub(super) struct WriteOrder {
    pub(super) device: usize,
    pub(super) request: WriteRequest,
    /// Read it back.
    pub(super) verify: bool,
    /// Then it is too old.
    pub(super) until: Instant,
    /// What was read back, or why it was not done.
    pub(super) answer: oneshot::Sender<Result<Option<Data>, CommandError>>,
}

/// To whom commands are passed on.
#[derive(Debug)]
pub(super) enum Worker {
    Wire(mpsc::Sender<WriteOrder>),
    Instrument(mpsc::Sender<Command>),
}

/// The desk of one wire.
#[derive(Debug)]
pub(super) struct Desk<C> {
    pub(super) book: Arc<Book>,
    pub(super) worker: Worker,
    pub(super) outbox: Outbox,
    pub(super) source: Arc<Mutex<C>>,
}

/// Who asked, for the log.
#[derive(Debug)]
struct Who {
    device: String,
    name: String,
    publisher: Option<Publisher>,
    asker: Asker,
}

type Finished = (Who, Result<Done, CommandError>);

impl<C: CommandSource> Desk<C> {
    /// Takes commands until `stop`, and ends when those are answered. May be dropped at any point, then what is being done is not.
    pub(super) async fn run(self, stop: Stop) {
        self.attend(JoinSet::new(), stop).await;
    }

    async fn attend(&self, mut at_work: JoinSet<Finished>, mut stop: Stop) {
        let mut source = self.source.lock().await;
        let (mut is_open, mut is_leaving) = (true, false);
        while !is_leaving || !at_work.is_empty() {
            tokio::select! {
                () = stop.requested(), if !is_leaving => (is_open, is_leaving) = (false, true),
                asked = source.receive(), if is_open => match asked {
                    Ok((message, publisher)) => self.ask(&message, publisher, &mut at_work),
                    Err(LinkClosed) => is_open = false,
                },
                Some(done) = at_work.join_next() => match done {
                    Ok((who, result)) => self.tell(who, &result),
                    Err(error) => tracing::error!(%error, "a command failed; this is a fault of fieldgate"),
                },
            }
        }
    }

    fn ask(
        &self,
        message: &Message,
        publisher: Option<Publisher>,
        at_work: &mut JoinSet<Finished>,
    ) {
        // Only the removal of a retained message.
        if message.retain && message.payload.is_empty() {
            return;
        }
        let Some(place) = self.book.find(&message.topic) else {
            return;
        };
        let (id, asked) = Asked::parse(&message.payload);
        let properties = message.properties.as_deref();
        let response = properties.and_then(|properties| properties.response_topic.as_ref());
        let may_read = |topic: &&TopicName| may_answer(topic, &message.topic, publisher.as_ref());
        let sends_again = publisher.as_ref().is_some_and(|who| who.sends_again);
        let who = Who {
            device: place.device_name.to_owned(),
            name: place.name.to_owned(),
            asker: Asker {
                id,
                topic: message.topic.clone(),
                response_topic: response.filter(may_read).cloned(),
                correlation_data: properties
                    .and_then(|properties| properties.correlation_data.clone()),
            },
            publisher,
        };
        let expiry = properties.and_then(|properties| properties.message_expiry);
        let decided = asked.and_then(|asked| {
            if message.retain {
                return Err(CommandError::Retained);
            }
            if sends_again {
                return Err(CommandError::SentAgain);
            }
            let action = self.book.decide(place, &asked.body)?;
            let left = lifetime(asked.ts, expiry, clock::wall(), action.ages)?;
            Ok((action, clock::now() + left))
        });
        let passed =
            decided.and_then(|(action, until)| self.worker.pass(place.device, action, until));
        match passed {
            Ok(done) => drop(at_work.spawn(async move { (who, done.await) })),
            Err(error) => self.tell(who, &Err(error)),
        }
    }

    fn tell(&self, who: Who, result: &Result<Done, CommandError>) {
        let (device, name) = (&who.device, &who.name);
        let publisher = who.publisher.as_ref();
        let client_id = publisher.map(|publisher| &*publisher.client_id);
        let user = publisher.and_then(|publisher| publisher.principal.user.as_deref());
        match result {
            Ok(_) => tracing::info!(%device, name, client_id, user, "command carried out"),
            Err(error) => {
                tracing::warn!(%device, name, client_id, user, %error, "command not carried out");
            }
        }
        for message in answers(who.asker, result, clock::wall()) {
            self.outbox.push(message);
        }
    }
}

impl Worker {
    /// Returns what will become of it.
    fn pass(
        &self,
        device: usize,
        action: Action,
        until: Instant,
    ) -> Result<impl Future<Output = Result<Done, CommandError>> + Send + 'static, CommandError>
    {
        let (answer, told) = oneshot::channel();
        let (answer_instrument, instrument_told) = oneshot::channel();
        let write = match (self, action.what) {
            (Self::Wire(wire), What::Write(write)) => {
                let order = WriteOrder {
                    device,
                    request: write.request.clone(),
                    verify: write.verify,
                    until,
                    answer,
                };
                wire.try_send(order).map_err(|_| CommandError::Busy)?;
                Some(write)
            }
            (Self::Instrument(instrument), What::Tell(name)) => {
                let command = Command {
                    name,
                    until,
                    answer: answer_instrument,
                };
                let sent = instrument.try_send(command);
                sent.map_err(|_| CommandError::Busy)?;
                None
            }
            _ => return Err(CommandError::Unknown),
        };
        Ok(async move {
            // An actor that has ended answers nothing.
            match write {
                Some(write) => {
                    let read_back = told.await.unwrap_or(Err(CommandError::Offline))?;
                    Ok(Done::Written { write, read_back })
                }
                None => {
                    let told = instrument_told.await;
                    told.unwrap_or(Err(CommandError::Offline))?;
                    Ok(Done::Told)
                }
            }
        })
    }
}

/// Whether an answer to a command on `asked` may go to this response topic: anybody may name any there, also one that
/// it could not publish to by itself.
fn may_answer(topic: &TopicName, asked: &TopicName, publisher: Option<&Publisher>) -> bool {
    if topic.as_str().strip_prefix(asked.as_str()) == Some("/result") {
        return true;
    }
    // Below the gateway's id it would look like a reading; a set topic may also be another gateway's.
    let is_own = topic.levels().next() == asked.levels().next();
    let is_set = topic.levels().nth(2) == Some("set");
    let is_special = topic.levels().any(|level| level.starts_with('$'));
    let may =
        |publisher: &Publisher| {
            publisher.principal.rights.as_ref().is_none_or(|rights| {
                rights.may_read(topic) && (!is_own || rights.may_publish(topic))
            })
        };
    !is_set && !is_special && publisher.is_some_and(may)
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::super::outbox::OutboxLimits;
    use super::*;
    use crate::auth::{Principal, Rights};
    use crate::shutdown::Shutdown;
    use crate::topic::TopicFilter;

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    #[tokio::test]
    async fn a_command_that_panicked_keeps_the_desk_from_nothing() {
        let shutdown = Shutdown::default();
        let (sender, _orders) = mpsc::channel(WAITING_MAX);
        let desk = Desk {
            book: Arc::new(Book::of_instrument(
                "scale",
                &topic("gw/scale/set"),
                std::iter::empty(),
            )),
            worker: Worker::Wire(sender),
            outbox: Outbox::new(
                "line",
                OutboxLimits {
                    messages: 1,
                    bytes: 1000,
                },
            ),
            source: Arc::new(Mutex::new(NoCommands)),
        };
        let mut at_work = JoinSet::new();
        at_work.spawn(async { panic!("as if by a fault") });
        let stop = shutdown.stop();
        shutdown.request();
        desk.attend(at_work, stop).await;
    }

    #[test]
    fn an_answer_never_becomes_a_command_and_tells_nobody_what_it_may_not_read() {
        let asked = topic("gw/chiller/set/mode");
        let only = ["replies/#", "gw/#"].map(|filter| TopicFilter::try_from(filter).unwrap());
        let publish = [TopicFilter::try_from("gw/replies/#").unwrap()];
        let publisher = Publisher {
            client_id: ByteString::from_static("plc7"),
            principal: Principal {
                rights: Some(Arc::new(Rights::allowing(&publish, &only))),
                ..Principal::default()
            },
            sends_again: false,
        };
        let may = |text: &str| may_answer(&topic(text), &asked, Some(&publisher));
        assert!(may("replies/plc7"));
        assert!(may("gw/chiller/set/mode/result"));
        assert!(!may("secrets/plc7"));
        assert!(may("gw/replies/plc7"));
        assert!(!may("gw/meter1/power"), "it may not say that by itself");
        assert!(
            !may_answer(&topic("replies/plc7"), &asked, None),
            "of nobody known"
        );
        let publisher = Publisher {
            principal: Principal::default(),
            ..publisher.clone()
        };
        let anybody = |text: &str| may_answer(&topic(text), &asked, Some(&publisher));
        assert!(anybody("anything") && anybody("gw2/chiller/answers"));
        for never in [
            "gw/chiller/set/run",
            "gw/other/set/x/y",
            "$SYS/a",
            "gw/chiller/$status",
        ] {
            assert!(!anybody(never), "{never}");
        }
    }
}
