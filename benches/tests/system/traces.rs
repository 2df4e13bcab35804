//! Traces, as a collector gets them: what is sent by REST, by WebSocket, and written into Postgres; nothing secret; and a
//! collector that is away costs nobody anything.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hubbub_benches::stack::{Builder, Stack, wait};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as AnyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, EVENT_MAX, Person};

const BODY: &str = "meet me at the old mill at nine";
const NONCE: &str = "a nonce that nobody has to know";

/// A span as it came.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    instance: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    kind: SpanKind,
    failed: bool,
    attributes: BTreeMap<String, String>,
}

/// A server that takes traces by OTLP over HTTP, or refuses them.
#[derive(Default)]
struct Inner {
    spans: Mutex<Vec<Span>>,
    refuses: AtomicBool,
    requests: AtomicUsize,
}

struct Collector {
    url: String,
    inner: Arc<Inner>,
}

impl Collector {
    fn start() -> Self {
        Self::over("http", |stream| stream)
    }

    /// Speaks TLS, with a certificate for this machine that vouches for itself.
    fn start_with_tls(certificate: &CertifiedKey<KeyPair>) -> Self {
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![certificate.cert.der().clone()];
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        Self::over("https", move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
        })
    }

    fn over<S: io::Read + io::Write + Send + 'static>(
        scheme: &str,
        accept: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let shared = Arc::clone(&inner);
        // Both end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (inner, stream) = (Arc::clone(&shared), accept(stream.unwrap()));
                std::thread::spawn(move || inner.serve(stream));
            }
        });
        Self { url, inner }
    }

    /// Sends everything that both programs do here.
    fn of(&self, builder: Builder) -> Builder {
        let builder = builder.env("HUBBUB_TRACES_URL", &self.url);
        builder.env("HUBBUB_TRACES_RATIO", "1").env("OTEL_BSP_SCHEDULE_DELAY", "50")
    }

    fn spans(&self) -> Vec<Span> {
        self.inner.spans.lock().unwrap().clone()
    }

    /// The first span that fits, once there is one.
    fn find(&self, fits: impl Fn(&Span) -> bool) -> Span {
        let found = wait::until(EVENT_MAX, || self.spans().into_iter().find(|span| fits(span)));
        found.unwrap_or_else(|| panic!("no span fits among {:#?}", self.spans()))
    }

    /// What was done for a span, in the order of its end; so many of them.
    fn children(&self, of: &Span, count: usize) -> Vec<Span> {
        let is_child = |span: &Span| span.parent == of.id && span.trace == of.trace;
        let found = wait::until(EVENT_MAX, || {
            let children: Vec<_> = self.spans().into_iter().filter(is_child).collect();
            (children.len() >= count).then_some(children)
        });
        let found = found.unwrap_or_else(|| panic!("{of:#?} has too few children: {:#?}", self.spans()));
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }
}

impl Inner {
    /// Answers the requests of a connection until the other side closes it.
    fn serve(&self, stream: impl io::Read + io::Write) {
        let mut stream = BufReader::new(stream);
        while let Ok((path, body)) = read_request(&mut stream) {
            assert_eq!(path, "/v1/traces");
            self.requests.fetch_add(1, Ordering::Relaxed);
            let status = if self.refuses.load(Ordering::Relaxed) {
                "503 Service Unavailable"
            } else {
                self.take(&body);
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            let stream = stream.get_mut();
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    }

    fn take(&self, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let mut spans = self.spans.lock().unwrap();
        for of_resource in request.resource_spans {
            let resource = texts(&of_resource.resource.unwrap().attributes);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: resource["service.name"].clone(),
                    instance: resource["service.instance.id"].clone(),
                    kind: span.kind(),
                    failed: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
                    attributes: texts(&span.attributes),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                });
            }
        }
    }
}

/// The path and body of the next request.
fn read_request(reader: &mut impl io::BufRead) -> io::Result<(String, Vec<u8>)> {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_lowercase();
        if let Some(request) = line.strip_prefix("post ") {
            path = request.split(' ').next().unwrap().into();
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line.is_empty() {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            return Ok((path, body));
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
        if let AnyValue::StringValue(text) = value {
            return text.clone();
        }
        if let AnyValue::IntValue(number) = value { number.to_string() } else { format!("{value:?}") }
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A control plane that is traced.
fn alone(collector: &Collector) -> Builder {
    collector.of(Stack::builder().gateways(0).controls(1).without_haproxy())
}

/// A member of a room.
fn member(stack: &Stack) -> (Person, String) {
    let ada = Person::register(stack.control(0).url(), "ada");
    let room = ada.rest.post("/rooms", &json!({"name": "mill", "kind": "private"})).unwrap();
    let room = room["id"].as_str().unwrap().to_owned();
    (ada, room)
}

#[test]
fn a_message_by_rest_is_traced_into_postgres() {
    let collector = Collector::start();
    let stack = alone(&collector).start().unwrap();
    let (ada, room) = member(&stack);
    let begun = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = format!("/rooms/{room}/messages");
    let body = json!({"body": BODY, "nonce": NONCE});
    let sent = ada.rest.call_with(Method::POST, &path, Some(&body), &[("traceparent", begun)]).unwrap();
    assert_eq!(sent.status, 201, "{}", sent.json);

    let span = collector.find(|span| span.name == "POST /api/v1/rooms/{id}/messages");
    assert_eq!((span.service.as_str(), span.instance.as_str()), ("hubbub-control", "control-1"));
    // From a trusted proxy, as which this machine counts: it goes on what was begun elsewhere.
    let elsewhere = (span.trace.as_str(), span.parent.as_str());
    assert_eq!(elsewhere, ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
    assert_eq!((span.kind, span.failed), (SpanKind::Server, false));
    let attributes: Vec<_> = span.attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    let request_id = sent.headers["x-request-id"].to_str().unwrap();
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("http.route", "/api/v1/rooms/{id}/messages"),
        ("hubbub.request_id", request_id),
    ];
    assert_eq!(attributes, expected);
    // With a nonce, what others sent meanwhile is read before and after.
    let children = collector.children(&span, 4);
    let names: Vec<_> = children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["rights", "nonces", "XADD", "nonces"]);
    assert_eq!(children[2].attributes["db.system.name"], "redis");

    let persisted = collector
        .find(|span| span.name == "persist" && span.attributes["messaging.batch.message_count"] == "1");
    assert_eq!((persisted.kind, persisted.failed), (SpanKind::Consumer, false));

    // One that fails says so.
    stack.postgres().unwrap().crash().unwrap();
    assert_eq!(ada.rest.call(Method::GET, &path, None).unwrap().status, 503);
    let failed = collector.find(|span| span.name == "GET /api/v1/rooms/{id}/messages");
    assert_eq!((failed.failed, &*failed.attributes["http.response.status_code"]), (true, "503"));

    let all = format!("{:#?}", collector.spans());
    let secrets = [Person::PASSWORD, ada.rest.token().unwrap(), stack.jwt_secret(), BODY, NONCE];
    for secret in secrets {
        assert!(!all.contains(secret), "{all}");
    }
}

#[test]
fn strangers_do_not_choose_what_is_traced() {
    let collector = Collector::start();
    let stack = alone(&collector).env("HUBBUB_TRUSTED_PROXIES", "192.0.2.1").start().unwrap();
    let (ada, _) = member(&stack);
    let not_sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let headers = [("traceparent", not_sampled)];
    assert_eq!(ada.rest.call_with(Method::GET, "/auth/me", None, &headers).unwrap().status, 200);
    // Were it believed, there would be none.
    let span = collector.find(|span| span.name == "GET /api/v1/auth/me");
    assert_ne!(span.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent, "");
}

#[test]
fn nor_do_they_through_the_proxy_that_is_trusted() {
    let collector = Collector::start();
    let stack = collector.of(Stack::builder().gateways(1).controls(1)).start().unwrap();
    let ada = Person::register(stack.public_url(), "ada");
    let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")];
    assert_eq!(ada.rest.call_with(Method::GET, "/auth/me", None, &headers).unwrap().status, 200);
    assert_eq!(collector.find(|span| span.name == "GET /api/v1/auth/me").parent, "");
}

#[test]
fn a_collector_may_speak_tls() {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let collector = Collector::start_with_tls(&certificate);
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, certificate.cert.pem()).unwrap();
    // What the system trusts, says this variable.
    let stack = alone(&collector).env("SSL_CERT_FILE", authority).start().unwrap();
    let (ada, _) = member(&stack);
    ada.rest.get("/auth/me").unwrap();
    collector.find(|span| span.name == "GET /api/v1/auth/me");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_websocket_is_traced_to_its_acknowledgement() {
    let collector = Collector::start();
    let stack = block_in_place(|| {
        collector.of(Stack::builder().gateways(1).controls(0).without_haproxy()).start().unwrap()
    });
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    client.send("1", BODY, NONCE).await;
    block_in_place(|| {
        let span = collector.find(|span| span.name == "publish");
        assert_eq!((span.service.as_str(), span.instance.as_str()), ("hubbub-gateway", "gateway-1"));
        assert_eq!((span.kind, span.parent.as_str(), span.failed), (SpanKind::Producer, "", false));
        assert_eq!(span.attributes["messaging.batch.message_count"], "1");
        assert!(span.attributes["hubbub.records_bytes"].parse::<usize>().unwrap() > BODY.len());
        assert!(span.attributes["hubbub.shard"].parse::<u16>().unwrap() < 64);
        let [append] = &collector.children(&span, 1)[..] else { panic!("one append") };
        assert_eq!((append.name.as_str(), append.kind), ("append", SpanKind::Client));
        let all = format!("{:#?}", collector.spans());
        for secret in [BODY, NONCE, stack.jwt_secret()] {
            assert!(!all.contains(secret), "{all}");
        }
    });
    client.close().await;
}

#[test]
fn a_collector_that_is_away_costs_spans_only() {
    let collector = Collector::start();
    collector.inner.refuses.store(true, Ordering::Relaxed);
    let stack = alone(&collector).start().unwrap();
    let control = stack.control(0);
    let said = |text: &str| fs::read_to_string(control.log()).unwrap().matches(text).count();
    let (ada, _) = member(&stack);
    let refused = || collector.inner.requests.load(Ordering::Relaxed) >= 3;
    let tried = wait::until(EVENT_MAX, || {
        ada.rest.get("/auth/me").unwrap();
        refused().then_some(())
    });
    assert!(tried.is_some(), "it should try several times");
    assert_eq!(said("the collector takes no traces"), 1);
    collector.inner.refuses.store(false, Ordering::Relaxed);
    let back = wait::until(EVENT_MAX, || {
        ada.rest.get("/auth/me").unwrap();
        (said("the collector takes traces again") == 1).then_some(())
    });
    assert!(back.is_some(), "it should say that the collector is back");
    assert_eq!(said("the collector takes no traces"), 1);
    collector.find(|span| span.name == "GET /api/v1/auth/me");
}

#[test]
fn the_last_spans_are_handed_over_at_the_end() {
    let collector = Collector::start();
    // Longer than this test: by itself nothing would be sent.
    let builder = alone(&collector).env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let stack = builder.start().unwrap();
    let (ada, _) = member(&stack);
    assert_eq!(ada.rest.call(Method::GET, "/auth/me", None).unwrap().status, 200);
    stack.control(0).stop().unwrap();
    assert!(
        collector.spans().iter().any(|span| span.name == "GET /api/v1/auth/me"),
        "{:#?}",
        collector.spans()
    );
}
