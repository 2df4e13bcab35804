//! Logs on standard output, for journald or a terminal.
//!
//! What `info`, `warn` and `error` say is held back where the same statement repeats itself ([`repeats`]); `debug` and
//! `trace` are not, as they are asked for by whoever wants to see everything.

mod repeats;

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing::callsite::Callsite;
use tracing::field::{Field, Value, Visit};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format as Formatter, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::repeats::{LeftOut, Repeats, Verdict, WINDOW_MS};
use crate::clock::Monotonic;

/// `HUBBUB_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// What to log.
    pub filter: EnvFilter,
    /// How.
    pub format: Format,
    /// Lines of one statement in ten seconds; 0 = no limit.
    pub repeats_max: u32,
}

/// Parses `HUBBUB_LOG`: a level, or `tracing` directives such as `info,hubbub_gateway=debug`.
pub fn parse_filter(directives: &str) -> Result<EnvFilter, String> {
    directives.parse::<EnvFilter>().map_err(|error| error.to_string())
}

/// Starts logging. Call once.
pub fn init(settings: &LogSettings) -> Log {
    let (log, subscriber) = subscriber(settings, std::io::stdout, std::io::stdout().is_terminal());
    subscriber.init();
    log
}

fn subscriber<W>(settings: &LogSettings, to: W, is_terminal: bool) -> (Log, Dispatch)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = Log { repeats: Arc::new(Repeats::new(settings.repeats_max)), clock: Monotonic::start() };
    let lines = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(is_terminal);
    let filtered = tracing_subscriber::registry().with(settings.filter.clone());
    let subscriber = match settings.format {
        Format::Text => {
            let format = Sparing { log: log.clone(), format: Formatter::default().with_target(false) };
            filtered.with(lines.event_format(format)).into()
        }
        Format::Json => {
            let format =
                Sparing { log: log.clone(), format: Formatter::default().json().flatten_event(true) };
            filtered.with(lines.fmt_fields(JsonFields::new()).event_format(format)).into()
        }
    };
    (log, subscriber)
}

/// The log of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    repeats: Arc<Repeats>,
    clock: Monotonic,
}

impl Log {
    /// Says what was left out of windows that are over; to be called every few seconds.
    pub fn tell_left_out(&self) {
        self.tell(false);
    }

    /// Says what was left out until now; to be called at the end.
    pub fn close(&self) {
        self.tell(true);
    }

    fn tell(&self, is_end: bool) {
        for left_out in self.repeats.left_out(self.clock.elapsed_ms(), is_end) {
            left_out.as_event(|event| dispatcher::get_default(|dispatch| dispatch.event(event)));
        }
    }
}

/// Writes events as another format does, but for too many of the same.
struct Sparing<F> {
    log: Log,
    format: F,
}

impl<S, N, F> FormatEvent<S, N> for Sparing<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() <= Level::INFO && !is_about_left_out(metadata) {
            match self.log.repeats.take(metadata, self.log.clock.elapsed_ms(), || text(event)) {
                Verdict::Write => {}
                Verdict::WriteAfter(left_out) => {
                    left_out.as_event(|event| self.format.format_event(context, writer.by_ref(), event))?;
                }
                Verdict::Leave => return Ok(()),
            }
        }
        self.format.format_event(context, writer, event)
    }
}

/// What an event says, without its fields.
fn text(event: &Event<'_>) -> String {
    struct Text(String);
    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut text = Text(String::new());
    event.record(&mut text);
    text.0
}

/// Its name is that of all statements about others.
const LEFT_OUT: &str = "left out";

fn is_about_left_out(metadata: &Metadata<'_>) -> bool {
    metadata.name() == LEFT_OUT && metadata.target() == module_path!()
}

/// The metadata of a statement made by hand: `tracing`'s macros would ask the subscriber, which may be about to write
/// another event, and whose filter knows nothing of the statement that this one is about.
macro_rules! statement {
    ($level:expr) => {{
        static CALLSITE: $crate::log::ByHand = $crate::log::ByHand(&METADATA);
        static METADATA: tracing::Metadata<'static> = tracing::Metadata::new(
            $crate::log::LEFT_OUT,
            module_path!(),
            $level,
            Some(file!()),
            Some(line!()),
            Some(module_path!()),
            tracing::field::FieldSet::new(
                &["message", "left_out", "at"],
                tracing::callsite::Identifier(&CALLSITE),
            ),
            tracing::metadata::Kind::EVENT,
        );
        &METADATA
    }};
}
#[cfg(test)]
use statement;

struct ByHand(&'static Metadata<'static>);

impl Callsite for ByHand {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0
    }
}

impl LeftOut {
    /// The line about it, of the same level as the lines that it stands for.
    fn as_event<T>(&self, then: impl FnOnce(&Event<'_>) -> T) -> T {
        let metadata = match self.level {
            Level::ERROR => statement!(Level::ERROR),
            Level::WARN => statement!(Level::WARN),
            _ => statement!(Level::INFO),
        };
        let Self { count, text, place, .. } = self;
        let message = format!("{count} more like this within {} s: {text}", WINDOW_MS / 1_000);
        let values: [Option<&dyn Value>; 3] = [Some(&message.as_str()), Some(count), Some(&place.as_str())];
        then(&Event::new(metadata, &metadata.fields().value_set_all(&values)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// What is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that a log of this format has when this is over.
    fn lines(format: Format, speak: impl FnOnce(&Log)) -> Vec<String> {
        let page = Page::default();
        let settings =
            LogSettings { filter: parse_filter("info,quiet=off").unwrap(), format, repeats_max: 3 };
        let (to, is_terminal) = (page.clone(), false);
        let (log, subscriber) = subscriber(&settings, move || to.clone(), is_terminal);
        dispatcher::with_default(&subscriber, || speak(&log));
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn fail(times: usize) {
        for number in 0..times {
            tracing::warn!(number, "it is away");
        }
    }

    #[test]
    fn a_line_tells_what_was_left_out_and_where() {
        let lines = lines(Format::Text, |log| {
            fail(1_000);
            tracing::error!("something else");
            log.tell_left_out();
            log.close();
            log.close();
        });
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(lines[0].contains(" WARN it is away number=0"), "{lines:#?}");
        assert!(lines[3].contains("ERROR something else"), "{lines:#?}");
        let told =
            " WARN 997 more like this within 10 s: it is away left_out=997 at=\"hubbub_common::log::tests:";
        assert!(lines[4].contains(told), "{lines:#?}");
    }

    #[test]
    fn so_does_an_object() {
        let lines = lines(Format::Json, |log| {
            fail(5);
            log.close();
        });
        let last: serde_json::Value = serde_json::from_str(&lines[3]).unwrap();
        assert_eq!((&last["level"], &last["left_out"]), (&"WARN".into(), &2.into()), "{last}");
        assert_eq!(last["message"], "2 more like this within 10 s: it is away");
        assert!(last["at"].as_str().unwrap().starts_with("hubbub_common::log::tests:"), "{last}");
    }

    #[test]
    fn what_is_not_logged_is_not_counted() {
        let lines = lines(Format::Text, |log| {
            for _ in 0..100 {
                tracing::error!(target: "quiet", "nobody wants to know");
                tracing::debug!("nor this");
            }
            log.close();
        });
        assert_eq!(lines, [""; 0]);
    }
}
