//! The broker under test behind a listener on loopback: in this process, without a store; or, where `FIELDGATE_WIRE` is
//! `program`, the whole program in its own.

use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher};
use fieldgate::auth::{Authenticator, Users};
use fieldgate::broker::{Broker, BrokerHandle, BrokerOptions, Limits};
use fieldgate::listener::{Bind, ListenerOptions, PreparedListener};
use fieldgate::shutdown::Shutdown;
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connack, Connect, Version};

/// Listeners of all tests; each broker has its own thread.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A broker that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    side: Side,
}

enum Side {
    Here(BrokerHandle, Shutdown),
    Program(Gateway),
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    /// With other limits than the defaults.
    pub fn with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::full(change, None)
    }

    /// Only for the user `plant` with the password `secret`.
    pub fn for_plant() -> Self {
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash: PasswordHash = argon2
            .hash_password_with_salt(b"secret", b"0123456789abcdef")
            .unwrap();
        Self::full(|_| (), Some(&format!("plant:{hash}\n")))
    }

    /// With the lines of a users file nobody without a name comes in.
    fn full(change: impl FnOnce(&mut Limits), users: Option<&str>) -> Self {
        let mut options = BrokerOptions::default();
        change(&mut options.limits);
        if std::env::var_os("FIELDGATE_WIRE").is_some_and(|it| it == "program") {
            Self::program(&options.limits, users)
        } else {
            Self::here(options, users)
        }
    }

    fn here(options: BrokerOptions, users: Option<&str>) -> Self {
        let shutdown = Shutdown::default();
        let _inside = RUNTIME.enter();
        let handle = Broker::start(
            options,
            Vec::new(),
            Authenticator::new(Users::parse(users.unwrap_or_default()).unwrap()),
            shutdown.stop(),
        )
        .unwrap();
        let listener = ListenerOptions {
            name: "test".to_owned(),
            bind: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
            anonymous: users.is_none(),
            tls: None,
            user_from_common_name: false,
            websocket: None,
        };
        let listener =
            PreparedListener::new(listener, &fieldgate::net::TlsTime::default()).unwrap();
        let listener = listener.start(handle.clone(), shutdown.stop());
        Self {
            address: listener.local_addr().unwrap(),
            side: Side::Here(handle, shutdown),
        }
    }

    fn program(limits: &Limits, users: Option<&str>) -> Self {
        let anonymous = format!("anonymous: {}", users.is_none());
        let mut broker = yaml(limits);
        if users.is_some() {
            broker.push_str("users_file: users\n");
        }
        broker.push_str("mosquitto_acl_file: acl\n");
        let gateway = Gateway::full(&[&anonymous], &broker, users.unwrap_or_default());
        Self {
            address: gateway.address(0),
            side: Side::Program(gateway),
        }
    }

    /// A socket, nothing sent.
    pub fn open(&self, version: Version) -> Client {
        Client::over(TcpStream::connect(self.address).unwrap(), version)
    }

    /// CONNECT sent, and the CONNACK whatever it says.
    pub fn try_connect(&self, connect: &Connect) -> (Client, Connack) {
        let mut client = self.open(connect.version);
        client.send(&connect.bytes());
        let connack = client.connack();
        (client, connack)
    }

    /// A client that was let in.
    pub fn connect(&self, connect: &Connect) -> Client {
        let (client, connack) = self.try_connect(connect);
        assert_eq!(connack.code, 0, "{connack:?}");
        client
    }

    /// A clean client that was let in.
    pub fn client(&self, version: Version, client_id: &str) -> Client {
        self.connect(&Connect::new(version, client_id))
    }

    /// Lets more than a second pass, by the broker's own clock: a client with a keep alive of 1 s is silent until the
    /// broker gives it up.
    pub fn let_pass(&self) {
        let silent = Connect::new(Version::V311, "silent").keep_alive(1);
        self.connect(&silent).closed();
    }

    /// Asks the broker to end.
    pub fn stop(&self) {
        match &self.side {
            Side::Here(_, shutdown) => shutdown.request(),
            Side::Program(gateway) => gateway.terminate(),
        }
    }
}

/// As the configuration writes them; those that tests change.
fn yaml(limits: &Limits) -> String {
    format!(
        "limits:\n  connections: {}\n  packet_size: {}B\n  topic_levels: {}\n  subscriptions_per_client: {}\n  \
         receive_maximum: {}\n  retained_messages: {}\n  keep_alive_maximum: {}s\n  session_expiry_maximum: {}s\n  \
         maximum_qos: {}\n",
        limits.connections,
        limits.packet_size,
        limits.topic_levels,
        limits.subscriptions_per_client,
        limits.receive_maximum,
        limits.retained_messages,
        limits.keep_alive_maximum.as_secs(),
        limits.session_expiry_maximum.as_secs(),
        limits.maximum_qos as u8,
    )
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Side::Here(handle, shutdown) = &self.side {
            shutdown.request();
            if !std::thread::panicking() {
                assert_eq!(handle.stats().panics, 0, "the broker has panicked");
            }
        }
    }
}
