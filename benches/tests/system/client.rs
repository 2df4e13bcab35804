//! A WebSocket client after the protocol page, over tokio-tungstenite: another codec than the gateway's.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use hubbub_benches::rest::Rest;
use hubbub_benches::stack::Stack;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long an expected event may take: long, because it ends tests that fail, not tests that pass.
pub(crate) const EVENT_MAX: Duration = Duration::from_secs(30);

/// A token as another application's backend would mint it.
pub(crate) fn mint(stack: &Stack, user: u64, rooms: &Value) -> String {
    #[expect(clippy::disallowed_methods, reason = "a token ends at a time of the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({
        "sub": user.to_string(),
        "name": format!("user {user}"),
        "rooms": rooms,
        "exp": (now + Duration::from_mins(30)).as_secs(),
    });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(stack.jwt_secret().as_bytes())).unwrap()
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub(crate) enum Proof<'a> {
    /// `?ticket=`
    Ticket(&'a str),
    /// `Authorization: Bearer`
    Bearer(&'a str),
    /// Cookie `hubbub_session`
    Session(&'a str),
    /// None at all.
    Nothing,
}

/// The cookies of one browser, as far as names and values go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jar(Vec<(String, String)>);

impl Jar {
    /// Takes the cookies of an answer.
    pub(crate) fn take(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.0.retain(|(old, _)| old != name);
            self.0.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }

    /// The value of a cookie.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, more: Option<(&str, &str)>) -> String {
        let own = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(more).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The first event.
    pub(crate) welcome: Value,
    /// Events that came while another one was awaited.
    passed: VecDeque<Value>,
    next_ref: u64,
}

impl Client {
    /// Connects, or fails the test.
    pub(crate) async fn connect(public_url: &str, proof: Proof<'_>, jar: &mut Jar) -> Self {
        Self::try_connect(public_url, proof, jar).await.unwrap()
    }

    /// Connects to a gateway with a token for every room, and joins one.
    pub(crate) async fn in_room(stack: &Stack, gateway: usize, user: u64, room: &str) -> Self {
        let token = mint(stack, user, &json!("*"));
        let url = stack.gateway(gateway).url();
        let mut client = Self::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
        client.join(room, None).await;
        client
    }

    /// Connects and reads `welcome`.
    pub(crate) async fn try_connect(
        public_url: &str,
        proof: Proof<'_>,
        jar: &mut Jar,
    ) -> Result<Self, Refused> {
        let mut url = format!("{}/ws", public_url.replacen("http", "ws", 1));
        if let Proof::Ticket(ticket) = proof {
            url = format!("{url}?ticket={ticket}");
        }
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        let value = |text: String| HeaderValue::from_str(&text).unwrap();
        headers.insert("sec-websocket-protocol", value("hubbub.v1.json".to_owned()));
        if let Proof::Bearer(token) = proof {
            headers.insert("authorization", value(format!("Bearer {token}")));
        }
        let session = if let Proof::Session(token) = proof { Some(("hubbub_session", token)) } else { None };
        headers.insert("cookie", value(jar.header(session)));
        let (socket, answer) = match tokio_tungstenite::connect_async(request).await {
            Ok(connected) => connected,
            Err(Error::Http(answer)) => {
                let (parts, body) = answer.into_parts();
                let body = String::from_utf8(body.unwrap_or_default()).unwrap();
                return Err(Refused { status: parts.status.as_u16(), headers: parts.headers, body });
            }
            Err(error) => panic!("{error}"),
        };
        jar.take(answer.headers());
        assert_eq!(answer.headers().get("sec-websocket-protocol").unwrap(), "hubbub.v1.json");
        let mut client = Self { socket, welcome: Value::Null, passed: VecDeque::new(), next_ref: 0 };
        client.welcome = client.event().await;
        assert_eq!(client.welcome["op"], "welcome", "{}", client.welcome);
        Ok(client)
    }

    /// The server id of its gateway.
    pub(crate) fn gateway(&self) -> &str {
        self.welcome["gateway"].as_str().unwrap()
    }

    /// Sends an operation with a new `ref`, which it gives back.
    pub(crate) async fn ask(&mut self, mut operation: Value) -> Value {
        self.next_ref += 1;
        operation["ref"] = json!(self.next_ref);
        self.socket.send(Message::text(operation.to_string())).await.unwrap();
        json!(self.next_ref)
    }

    /// Sends an operation and waits for what answers it.
    pub(crate) async fn request(&mut self, operation: Value) -> Value {
        let reference = self.ask(operation).await;
        self.find(|event| event["ref"] == reference).await
    }

    /// Joins one room, and gives its part of `joined`.
    pub(crate) async fn join(&mut self, room: &str, since: Option<&str>) -> Value {
        let mut wanted = json!({"room": room});
        if let Some(since) = since {
            wanted["since"] = json!(since);
        }
        let joined = self.request(json!({"op": "join", "rooms": [wanted]})).await;
        assert_eq!(joined["op"], "joined", "{joined}");
        assert_eq!(joined["rooms"][0]["room"], room, "{joined}");
        joined["rooms"][0].clone()
    }

    /// Sends a message and gives its `ack`.
    pub(crate) async fn send(&mut self, room: &str, body: &str, nonce: &str) -> Value {
        let ack = self.request(json!({"op": "send", "room": room, "body": body, "nonce": nonce})).await;
        assert_eq!((&ack["op"], &ack["room"]), (&json!("ack"), &json!(room)), "{ack}");
        ack
    }

    /// The next event, whatever it is; those that were passed over come first.
    pub(crate) async fn event(&mut self) -> Value {
        match self.passed.pop_front() {
            Some(event) => event,
            None => self.receive().await,
        }
    }

    /// The next event that fits; others stay for later.
    pub(crate) async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(event) = self.passed.iter().position(&fits).and_then(|at| self.passed.remove(at)) {
            return event;
        }
        loop {
            let event = self.receive().await;
            if fits(&event) {
                return event;
            }
            self.passed.push_back(event);
        }
    }

    /// An event that fits among those that were passed over.
    pub(crate) fn passed(&self, fits: impl Fn(&Value) -> bool) -> Option<&Value> {
        self.passed.iter().find(|event| fits(event))
    }

    /// The next event of this kind.
    pub(crate) async fn expect(&mut self, op: &str) -> Value {
        self.find(|event| event["op"] == op).await
    }

    /// Waits until the server closes, and gives the close code.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            let frame = timeout(EVENT_MAX, self.socket.next()).await.expect("the server should close");
            match frame {
                Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
                Some(Ok(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    async fn receive(&mut self) -> Value {
        loop {
            let frame = timeout(EVENT_MAX, self.socket.next()).await.expect("an event should come");
            match frame {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected an event, got {other:?}; passed over: {:?}", self.passed),
            }
        }
    }

    /// Closes in good order.
    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
    }
}

/// A registered user with a login session.
pub(crate) struct Person {
    pub(crate) rest: Rest,
    pub(crate) id: String,
}

impl Person {
    pub(crate) fn register(public_url: &str, name: &str) -> Self {
        let account = json!({"username": name, "password": Self::PASSWORD});
        let registered = Rest::new(public_url).post("/auth/register", &account).unwrap();
        let rest = Rest::new(public_url).with_token(registered["token"].as_str().unwrap());
        Self { rest, id: registered["user"]["id"].as_str().unwrap().to_owned() }
    }

    pub(crate) const PASSWORD: &str = "correct horse battery";

    /// Connects with a ticket, as a browser does.
    pub(crate) async fn connect(&self, public_url: &str, jar: &mut Jar) -> Client {
        let ticket = block_in_place(|| self.rest.post("/auth/ticket", &json!({})).unwrap());
        let client =
            Client::connect(public_url, Proof::Ticket(ticket["ticket"].as_str().unwrap()), jar).await;
        assert_eq!(client.welcome["user"]["id"], self.id);
        client
    }
}
