//! A bare node as a process of its own, before a broker with TLS and a provisioner made by hand.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, Transport};
use overlay_protocol::lifecycle::Event;
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_runtime::Clock;
use overlay_testkit::mint::{Authority, Login, Organisation};
use overlay_testkit::{Broker, Process, eventually};
use overlay_tokens::issue::{ClientToken, ProvisioningToken, ServerToken};
use overlay_tokens::request::sign_request;
use overlay_tokens::{PublicKey, UnixTime, claims::ClientPermissions};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::open;

pub(crate) const WITHIN: Duration = Duration::from_secs(60);
pub(crate) const NODE: &str = "n1.example.net";
pub(crate) const SECRET: &str = "s3cret-token";

/// A broker, an organisation, and the directory of a node that has nothing but a provisioning token.
pub(crate) struct Bare {
    pub(crate) dir: TempDir,
    pub(crate) org: Organisation,
    pub(crate) broker: Broker,
    pub(crate) authority: Authority,
    pub(crate) provisioner: Login,
    pub(crate) config_name: &'static str,
    serial: AtomicI64,
}

/// Who asks a node.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) caller: &'a str,
    pub(crate) sender: &'a str,
}

pub(crate) const PROVISIONER: Caller<'static> = Caller {
    caller: "provisioner=cell",
    sender: "p1.example.net-a",
};

impl Bare {
    /// A node with a token that makes provisioning the default.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ProvisioningToken)) -> Self {
        let authority = Authority::new();
        let mut files = authority.server("broker", &[]);
        // The chain shows the authority, which a token may pin.
        let chain = ["cert", "ca"].map(|which| {
            let file = if which == "ca" {
                &files.ca
            } else {
                &files.cert
            };
            std::fs::read_to_string(file).unwrap()
        });
        let whole = authority.dir().join("chain.pem");
        std::fs::write(&whole, chain.concat()).unwrap();
        files.cert = whole;
        let nkey = nkeys::KeyPair::new_user().public_key();
        let broker = Broker::builder()
            .max_control_line(65_536)
            .tls(&files)
            .config(format!(
                "accounts {{ all {{ users: [
                    {{ nkey: {nkey} }}
                    {{ user: client, password: client-password }}
                    {{ user: member, password: member-password }}
                    {{ user: waiting, password: waiting-password, permissions: {{
                        subscribe: [
                            \"provisioning.node.{NODE}\", \"provisioning.broadcast.agent.discovery\",
                            \"provisioning.broadcast.agent.rpcutil\", \"provisioning.broadcast.agent.choria_util\",
                            \"provisioning.broadcast.agent.choria_provision\" ]
                        publish: [
                            \"choria.lifecycle.event.startup.provision_mode_server\",
                            \"choria.lifecycle.event.alive.provision_mode_server\",
                            \"choria.lifecycle.event.provisioned.provision_mode_server\",
                            \"choria.lifecycle.event.upgraded.provision_mode_server\",
                            \"choria.lifecycle.event.shutdown.provision_mode_server\",
                            \"provisioning.registration.data\" ]
                        allow_responses: {{ max: 1, expires: \"30s\" }} }} }}
                ] }} }}"
            ))
            .start();
        let org = Organisation::new();
        let bare = Self {
            dir: tempfile::tempdir().unwrap(),
            provisioner: org.client(ClientToken {
                permissions: Some(ClientPermissions {
                    fleet_management: true,
                    provisioner: true,
                    ..ClientPermissions::default()
                }),
                ..ClientToken::new("provisioner=cell")
            }),
            org,
            broker,
            authority,
            config_name: "server.conf",
            serial: AtomicI64::new(1),
        };
        bare.invite(change);
        bare
    }

    /// Writes a provisioning token beside the configuration.
    pub(crate) fn invite(&self, change: impl FnOnce(&mut ProvisioningToken)) -> String {
        let mut token = ProvisioningToken {
            token: SECRET.into(),
            urls: vec![self.url()],
            by_default: true,
            protocol_v2: true,
            username: "waiting".to_owned(),
            password: "waiting-password".into(),
            validity: Duration::from_secs(3600),
            ..ProvisioningToken::default()
        };
        change(&mut token);
        let text = self.org.provisioning(token);
        std::fs::write(self.path("provisioning.jwt"), format!("{text}\n")).unwrap();
        text
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.broker.port())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The files of the node, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "status.json" && name != "status.json.new")
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_overlay-server"));
        self.start_program(program, environment)
    }

    /// The same from another place.
    pub(crate) fn start_program(&self, program: &Path, environment: &[(&str, &str)]) -> Process {
        let mut builder = Process::builder(program)
            .arg("--config")
            .arg(self.path(self.config_name))
            .env("OVERLAY_SERVER__IDENTITY", NODE)
            .env("OVERLAY_SERVER__STATUS__FILE", self.path("status.json"))
            .env("OVERLAY_SERVER__STATUS__INTERVAL", "1s");
        for (name, value) in environment {
            builder = builder.env(name, value);
        }
        builder.start()
    }

    pub(crate) async fn client(&self) -> Client {
        ConnectOptions::with_user_and_password("client".to_owned(), "client-password".to_owned())
            .add_root_certificates(self.authority.ca_file())
            .require_tls(true)
            .custom_inbox_prefix("provisioning.reply.inbox")
            .connect(self.url())
            .await
            .unwrap()
    }

    pub(crate) fn now(&self) -> UnixTime {
        UnixTime::from(Clock::system().now())
    }

    /// Asks an action of an agent as a provisioner does: the reply subject is in both places.
    pub(crate) async fn ask_agent(
        &self,
        client: &Client,
        who: Caller<'_>,
        agent: &str,
        action: &str,
        data: Value,
    ) -> RpcReply {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let reply_to = format!("provisioning.reply.abc.i1.r{serial}");
        let body = json!({"agent": agent, "action": action, "data": data});
        let request = self.request(who, agent, body.to_string().as_bytes(), "provisioning");
        let secure = sign_request(
            request.encode(),
            &self.provisioner.key,
            &self.provisioner.token,
        );
        let mut transport = Transport::new(secure.encode());
        transport.reply = Some(reply_to.clone());
        transport.sender = Some(who.sender.to_owned());
        let mut answers = client.subscribe(reply_to.clone()).await.unwrap();
        let subject = format!("provisioning.node.{NODE}");
        client
            .publish_with_reply(subject, reply_to, transport.encode().into())
            .await
            .unwrap();
        let message = tokio::time::timeout(WITHIN, answers.next())
            .await
            .unwrap_or_else(|_| panic!("no answer to {agent}#{action}"))
            .unwrap();
        let (_, secure, _) = open(&message.payload);
        assert!(secure.signature.is_none());
        let reply = Reply::decode(&secure.reply, &Limits::default()).unwrap();
        assert_eq!(reply.sender, NODE);
        RpcReply::decode(&reply.message, &Limits::default()).unwrap()
    }

    pub(crate) fn request(
        &self,
        who: Caller<'_>,
        agent: &str,
        payload: &[u8],
        collective: &str,
    ) -> Request {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        Request {
            message: payload.to_vec(),
            id: format!("2ecvzXAzWRTIbJ5YMQTX{serial:07}"),
            sender: who.sender.to_owned(),
            caller: who.caller.to_owned(),
            collective: collective.to_owned(),
            agent: agent.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: self.now().as_nanos() + serial,
            filter: None,
        }
    }

    /// Asks the provisioning agent with the right secret.
    pub(crate) async fn ask(&self, client: &Client, action: &str, data: Value) -> RpcReply {
        let mut data = data;
        data["token"] = SECRET.into();
        self.ask_agent(client, PROVISIONER, "choria_provision", action, data)
            .await
    }

    pub(crate) async fn ask_well(&self, client: &Client, action: &str, data: Value) -> Value {
        let reply = self.ask(client, action, data).await;
        assert_eq!(
            reply.statuscode,
            StatusCode::Ok,
            "{action}: {}",
            reply.statusmsg
        );
        reply.data
    }

    /// The settings of a member, as a helper would choose them.
    pub(crate) fn settings(&self) -> Map<String, Value> {
        let text = |path: PathBuf| Value::from(path.display().to_string());
        let settings = json!({
            "identity": NODE,
            "collectives": "choria",
            "loglevel": "info",
            "plugin.choria.server.provision": "false",
            "plugin.choria.middleware_hosts": self.url(),
            "plugin.security.provider": "choria",
            "plugin.security.choria.token_file": text(self.path("server.jwt")),
            "plugin.security.choria.seed_file": text(self.path("server.seed")),
            "plugin.security.choria.ca": text(self.authority.ca_file()),
            "plugin.security.issuer.names": "choria",
            "plugin.security.issuer.choria.public": self.org.public().to_string(),
            "plugin.nats.user": "member",
            "plugin.nats.pass": "member-password",
            "rpcauthorization": "0",
        });
        settings.as_object().unwrap().clone()
    }

    pub(crate) fn server_token(&self, public: &str, validity: Duration) -> String {
        let public: PublicKey = public.parse().unwrap();
        let token = ServerToken {
            identity: NODE.to_owned(),
            collectives: vec!["choria".to_owned()],
            public_key: Some(public),
            validity,
            ..ServerToken::default()
        };
        self.org.server(token).token
    }

    /// The whole flow: key, token, configuration.
    pub(crate) async fn configure(&self, client: &Client, validity: Duration) -> Value {
        let reply = self.deliver(client, &self.settings(), validity).await;
        assert_eq!(reply.statuscode, StatusCode::Ok, "{}", reply.statusmsg);
        reply.data
    }

    /// The same with other settings, and whatever answer.
    pub(crate) async fn deliver(
        &self,
        client: &Client,
        settings: &Map<String, Value>,
        validity: Duration,
    ) -> RpcReply {
        let nonce = "0102030405060708090a0b0c0d0e0f10";
        let key = self
            .ask_well(client, "gen25519", json!({"nonce": nonce}))
            .await;
        let public = key["public_key"].as_str().unwrap();
        overlay_tokens::verify_possession(nonce, public, key["signature"].as_str().unwrap())
            .unwrap();
        let token = self.server_token(public, validity);
        let config = Value::Object(settings.clone()).to_string();
        self.ask(
            client,
            "configure",
            json!({"config": config, "server_jwt": token}),
        )
        .await
    }

    /// The status file, once `wanted` holds.
    pub(crate) async fn status_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(WITHIN, Duration::from_millis(20), async || {
            let status = std::fs::read(self.path("status.json"))
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
                .unwrap_or(Value::Null);
            if wanted(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
        .await
    }
}

/// Events of the cell, in the order in which they came.
pub(crate) struct Events(Subscriber);

impl Events {
    pub(crate) async fn of(client: &Client) -> Self {
        let events = client.subscribe("choria.lifecycle.event.>").await.unwrap();
        client.flush().await.unwrap();
        Self(events)
    }

    /// The next event: its type and component.
    pub(crate) async fn next(&mut self) -> (String, String) {
        let message = tokio::time::timeout(WITHIN, self.0.next())
            .await
            .expect("no event came")
            .unwrap();
        let event = Event::decode(&message.payload, &Limits::default()).unwrap();
        assert_eq!(event.identity, NODE);
        (event.kind.type_name().to_owned(), event.component)
    }

    /// The next event but signs of life, which come at times of their own.
    pub(crate) async fn expect(&mut self, kind: &str, component: &str) {
        let mut event = self.next().await;
        while event.0 == "alive" && kind != "alive" {
            event = self.next().await;
        }
        assert_eq!(event, (kind.to_owned(), component.to_owned()));
    }
}
