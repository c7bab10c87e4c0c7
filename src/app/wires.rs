//! Starting the adapters of wires: each with a link for what it reads and one for what it is told.

use std::sync::Arc;

use super::StartError;
use super::running::Running;
use super::seen::SeenConnection;
use crate::adapter::serial::InstrumentConnection;
use crate::adapter::{Adapter, ConnectionOptions, Opener, PlanError};
use crate::broker::{BrokerHandle, Link, LinkClosed, LinkOptions, Origin};
use crate::mqtt::QoS;
use crate::net::{Expiry, TlsTime};
use crate::topic::{TopicFilter, TopicName};

/// Starts a wire with Modbus devices. `expiry` is that of its own certificate.
pub(super) async fn start_devices(
    broker: &BrokerHandle,
    time: &TlsTime,
    options: Arc<ConnectionOptions>,
    expiry: Option<Expiry>,
) -> Result<Running<SeenConnection>, StartError> {
    let link = link(broker, &options.name).await?;
    let topics = options.devices.iter().map(|device| &device.set_topic);
    let commands = commands(broker, &options.name, topics).await?;
    let opener = Opener::Machine(time.clone());
    let started = Running::try_start(&options.name, |stop| {
        let adapter = Adapter::start_over(opener, Arc::clone(&options), link, commands, stop)?;
        Ok::<_, PlanError>(SeenConnection::of_devices(&options, expiry, &adapter))
    });
    Ok(started?)
}

/// Starts a port with an instrument.
pub(super) async fn start_instrument(
    broker: &BrokerHandle,
    options: InstrumentConnection,
) -> Result<Running<SeenConnection>, StartError> {
    let link = link(broker, &options.name).await?;
    let topic = &options.instrument.set_topic;
    let commands = commands(broker, &options.name, [topic].into_iter()).await?;
    let name = options.name.clone();
    Ok(Running::start(&name, |stop| {
        let adapter = Adapter::start_instrument(options.clone(), link, commands, stop);
        SeenConnection::of_instrument(options, &adapter)
    }))
}

/// Where what is sent to these set topics comes out. At QoS 0 and in no lasting session: a command runs once at most,
/// and none is kept for later.
async fn commands(
    broker: &BrokerHandle,
    connection: &str,
    topics: impl Iterator<Item = &TopicName>,
) -> Result<Link, StartError> {
    let mut link = link(broker, &format!("{connection}/set")).await?;
    for topic in topics {
        let filter = TopicFilter::try_from(format!("{topic}/+").as_str())?;
        link.subscribe(filter, QoS::AtMostOnce).await?;
    }
    Ok(link)
}

async fn link(broker: &BrokerHandle, name: &str) -> Result<Link, LinkClosed> {
    let options = LinkOptions {
        client_id: format!("$fieldgate/{name}").into(),
        origin: Origin::Device,
    };
    broker.link(options).await
}
